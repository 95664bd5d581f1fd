"""Activations against torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.runtimes.mil.programs import run_op

X = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)


@pytest.mark.parametrize("alpha", [1.0, 0.3])
def test_elu(alpha):
    np.testing.assert_allclose(
        run_op("elu", {"x": X}, alpha=alpha)[0], torch.nn.functional.elu(torch.from_numpy(X), alpha)
    )
