"""Quantized activations against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from tests.runtimes.mil.programs import run_op

X = np.concatenate([np.random.default_rng(0).standard_normal(20) * 4, [0.25, 0.75, -0.25, 900.0]])
X = X.astype(np.float32).reshape(2, 3, 4)
RANGES = {"int8": (-128, 127), "uint8": (0, 255)}


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("zero", [None, 7])
@pytest.mark.parametrize("axis", [None, 1, -1])
def test_there_and_back(dtype, zero, axis):
    rng, count = np.random.default_rng(1), X.shape[axis] if axis is not None else 1
    scale = np.float32(0.5) if axis is None else rng.uniform(0.1, 1, count).astype(np.float32)
    given = {"scale": scale} | ({} if axis is None else {"axis": axis})
    shift = 0.0
    if zero is not None:
        own = np.array(zero, dtype) if axis is None else np.arange(count).astype(dtype)
        given["zero_point"], shift = own, own.astype(np.float64)
    shape = [1] * 3
    if axis is not None:
        shape[axis] = count
        scale, shift = (
            scale.reshape(shape),
            np.broadcast_to(np.reshape(shift, shape if zero is not None else ()), shape),
        )
    steps = np.clip(np.round(X / scale) + shift, *RANGES[dtype])
    (found,) = run_op("quantize", {"input": X}, output_dtype=dtype, **given)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, steps)
    (back,) = run_op("dequantize", {"input": found}, **given)
    np.testing.assert_allclose(back, (steps - shift) * scale, rtol=1e-6, atol=1e-7)


def test_ties_go_to_the_even_step():
    x = np.array([0.25, 0.75, 1.25, -0.25, -0.75], np.float32)
    assert run_op("quantize", {"input": x}, scale=np.float32(0.5), output_dtype="int8")[0].tolist() == [0, 2, 2, 0, -2]
