"""States: read, written, kept from call to call."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from coremltools.converters.mil import Builder as mb

from edgesmith.errors import EngineFailed
from edgesmith.runtimes.mil.registry import Box
from tests.runtimes.mil.programs import planned, spec


def accumulate(x, total):
    now = mb.read_state(input=total)
    more = mb.add(x=now, y=x)
    return mb.coreml_update_state(state=total, value=more), mb.identity(x=now)


INPUTS = {"x": spec((3,)), "total": mb.StateTensorSpec((3,))}


def test_a_state_is_read_before_and_after_it_is_written():
    plan, box = planned(accumulate, INPUTS, "ios18"), Box(torch.zeros(3))
    x = torch.tensor([1.0, 2.0, 3.0])
    for calls in range(3):
        after, before = plan.run({"x": x, "total": box}).values()
        np.testing.assert_array_equal(before, calls * x)
        np.testing.assert_array_equal(after, (calls + 1) * x)
    np.testing.assert_array_equal(box.value, 3 * x)


def test_a_tensor_of_another_shape_does_not_go_into_a_state():
    plan = planned(accumulate, INPUTS, "ios18")
    with pytest.raises(EngineFailed, match=r"shape"):
        plan.run({"x": torch.zeros(3), "total": Box(torch.zeros(1))})
