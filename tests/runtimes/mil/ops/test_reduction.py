import numpy as np
import pytest

from tests.runtimes.mil.programs import run_op
from tests.runtimes.mil.versions import each_version

AXES = [None, [0], [-1], [1, 2], [-3, 2], [0, 1, 2]]


def _log_sum_exp(x, axis, keepdims):
    return np.log(np.exp(x).sum(axis=axis, keepdims=keepdims))


REDUCTIONS = {
    "reduce_l1_norm": lambda x, axis, keepdims: np.abs(x).sum(axis=axis, keepdims=keepdims),
    "reduce_l2_norm": lambda x, axis, keepdims: np.sqrt((x * x).sum(axis=axis, keepdims=keepdims)),
    "reduce_log_sum": lambda x, axis, keepdims: np.log(x.sum(axis=axis, keepdims=keepdims)),
    "reduce_log_sum_exp": _log_sum_exp,
    "reduce_max": np.max,
    "reduce_mean": np.mean,
    "reduce_min": np.min,
    "reduce_prod": np.prod,
    "reduce_sum": np.sum,
    "reduce_sum_square": lambda x, axis, keepdims: (x * x).sum(axis=axis, keepdims=keepdims),
}


def _input(name, dtype):
    low = 1 if name in ("reduce_log_sum", "reduce_prod") else -4
    x = np.random.default_rng(3).uniform(low, 4, (2, 3, 4))
    return np.round(x).astype(dtype) if dtype == "int32" else x.astype(dtype)


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("axes", AXES, ids=str)
@pytest.mark.parametrize("name", REDUCTIONS)
def test_over_axes(name, axes, keep):
    given = {} if axes is None else {"axes": axes}
    for dtype in ("float32", "int32"):
        x = _input(name, dtype)
        expected = REDUCTIONS[name](x.astype(np.float64), axis=None if axes is None else tuple(axes), keepdims=keep)
        (found,) = run_op(name, {"x": x}, "ios15", keep_dims=keep, **given)
        assert found.dtype == dtype
        if dtype == "int32":
            np.testing.assert_array_equal(found, np.trunc(expected).astype(np.int64).astype(np.int32))
        else:
            np.testing.assert_allclose(found, expected, rtol=5e-6, atol=1e-5)


def test_log_sum_exp_of_large_numbers_is_finite():
    x = np.array([[1000.0, 1001.0]], np.float32)
    (found,) = run_op("reduce_log_sum_exp", {"x": x}, axes=[1])
    np.testing.assert_allclose(found, [1001 + np.log1p(np.exp(-1))], rtol=1e-6)


ARG = {"reduce_argmax": np.argmax, "reduce_argmin": np.argmin}


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("axis", [0, 1, -1, None])
@pytest.mark.parametrize(("name", "opset"), each_version(*ARG))
def test_positions(name, opset, axis, keep):
    given = {} if axis is None else {"axis": axis}
    for dtype in ("float32", "int32"):
        x = np.random.default_rng(1).permutation(60).reshape(3, 4, 5).astype(dtype)
        expected = ARG[name](x, axis=-1 if axis is None else axis, keepdims=keep)
        (found,) = run_op(name, {"x": x}, opset, keep_dims=keep, **given)
        assert found.dtype == np.int32
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", ARG)
def test_positions_as_uint16_from_ios17_on(name):
    x = np.random.default_rng(1).permutation(6).reshape(2, 3).astype(np.float32)
    np.testing.assert_array_equal(run_op(name, {"x": x}, output_dtype="uint16")[0], ARG[name](x, axis=-1))
