"""Products of matrices against numpy."""

from __future__ import annotations

import numpy as np
import pytest
from coremltools.converters.mil import Builder as mb

from tests.runtimes.mil.programs import run, run_op
from tests.runtimes.mil.versions import each_version

RNG = np.random.default_rng(0)


def numbers(*shape, dtype=np.float32):
    values = RNG.standard_normal(shape) if dtype is np.float32 else RNG.integers(-9, 9, shape)
    return np.asarray(values, dtype)


@pytest.mark.parametrize(("name", "opset"), each_version("linear"))
@pytest.mark.parametrize("dtype", [np.float32, np.int32])
@pytest.mark.parametrize("shape", [(4,), (2, 4), (3, 2, 4)])
def test_linear(name, opset, dtype, shape):
    x, weight, bias = numbers(*shape, dtype=dtype), numbers(5, 4, dtype=dtype), numbers(5, dtype=dtype)
    (found,) = run_op(name, {"x": x}, opset, weight=weight, bias=bias)
    np.testing.assert_allclose(found, x @ weight.T + bias, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("name", "opset"), each_version("matmul"))
@pytest.mark.parametrize(
    ("left", "right", "flips"),
    [
        ((2, 3), (3, 4), (False, False)),
        ((3, 2), (3, 4), (True, False)),
        ((2, 3), (4, 3), (False, True)),
        ((5, 1, 2, 3), (4, 3, 2), (False, False)),
        ((4, 3, 2), (5, 1, 6, 3), (True, True)),
        ((3,), (3, 2), (False, False)),
    ],
)
def test_matmul(name, opset, left, right, flips):
    x, y = numbers(*left), numbers(*right)
    (found,) = run_op(name, {"x": x, "y": y}, opset, transpose_x=flips[0], transpose_y=flips[1])
    expected = np.matmul(x.swapaxes(-1, -2) if flips[0] else x, y.swapaxes(-1, -2) if flips[1] else y)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mode", ["fp32", "ane-like"])
@pytest.mark.parametrize(
    ("equation", "left", "right"),
    [
        ("nchw,nwhu->nchu", (2, 3, 4, 40), (2, 40, 4, 6)),
        ("abcd,adce->abce", (1, 3, 4, 5), (2, 5, 1, 6)),
        ("chw,whr->chr", (3, 4, 5), (5, 4, 2)),
    ],
)
def test_einsum(equation, left, right, mode):
    x, y = numbers(*left), numbers(*right)
    (found,) = run(lambda x, y: mb.einsum(values=(x, y), equation=equation), {"x": x, "y": y}, mode=mode)
    wide = [np.broadcast_to(a, [max(p, q) if name in "ac" else p for name, p, q in zip("abcd", a.shape, b.shape)])
            if equation[0] == "a" else a for a, b in ((x, y), (y, x))]  # fmt: skip
    exact = np.einsum(equation, *(a.astype(np.float64) for a in wide))
    np.testing.assert_allclose(
        found, exact, rtol=1e-5 if mode == "fp32" else 1e-2, atol=1e-5 if mode == "fp32" else 0.05
    )


def test_half_sums_round_after_every_chunk():
    """4096 ones in chunks of 32: exact; then 2049 more ones are lost, for 2048 + 1 is 2048 in fp16."""
    ones = np.ones((1, 2048), np.float32)
    assert run_op("matmul", {"x": ones, "y": ones.T}, mode="ane-like")[0].item() == 2048
    small = np.concatenate([ones, np.full((1, 32), 1 / 64, np.float32)], 1)
    assert run_op("matmul", {"x": small, "y": np.ones_like(small).T}, mode="ane-like")[0].item() == 2048
    assert run_op("matmul", {"x": small, "y": np.ones_like(small).T}, mode="fp16")[0].item() == 2048.5


@pytest.mark.parametrize("bias", [True, False])
def test_linear_in_half_sums(bias):
    x, weight, plus = numbers(2, 100), numbers(5, 100), numbers(5)
    constants = {"weight": weight, **({"bias": plus} if bias else {})}
    exact, rough = (run_op("linear", {"x": x}, mode=mode, **constants)[0] for mode in ("fp32", "ane-like"))
    assert 0 < abs(exact - rough).max() < 0.1
