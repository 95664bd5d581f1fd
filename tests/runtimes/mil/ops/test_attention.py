"""Attention against its formula in float64."""

from __future__ import annotations

import numpy as np
import pytest

from tests.runtimes.mil.programs import run_op

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("batch", [(2,), (2, 3)])
@pytest.mark.parametrize("mask", ["none", "bool", "float"])
@pytest.mark.parametrize("mode", ["fp32", "ane-like"])
def test_attention(batch, mask, mode):
    query, key, value = (RNG.standard_normal((*batch, *own)).astype(np.float32) for own in ((4, 8), (40, 8), (40, 6)))
    feed = {"query": query, "key": key, "value": value}
    scores = query.astype(np.float64) @ key.swapaxes(-1, -2) / np.sqrt(8)
    if mask == "bool":
        feed["attn_mask"] = RNG.random((4, 40)) < 0.7
        scores = np.where(feed["attn_mask"], scores, -np.inf)
    if mask == "float":
        feed["attn_mask"] = RNG.standard_normal((4, 40)).astype(np.float32)
        scores = scores + feed["attn_mask"]
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    expected = weights / weights.sum(-1, keepdims=True) @ value
    (found,) = run_op("scaled_dot_product_attention", feed, "ios18", mode)
    tolerance = 1e-5 if mode == "fp32" else 2e-2
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)
