import math

import numpy as np
import pytest

from edgesmith.errors import EngineFailed
from tests.runtimes.mil.programs import run_op
from tests.runtimes.mil.versions import each_version, versions

SHAPES = [(1,), (3, 4), (2, 1, 3, 4)]
# Name -> (numpy's function, where its arguments lie, whether integers are allowed)
UNARY = {
    "abs": (np.abs, (-3, 3), True),
    "acos": (np.arccos, (-1, 1), False),
    "asin": (np.arcsin, (-1, 1), False),
    "atan": (np.arctan, (-9, 9), False),
    "atanh": (np.arctanh, (-0.95, 0.95), False),
    "ceil": (np.ceil, (-3, 3), False),
    "cos": (np.cos, (-9, 9), False),
    "cosh": (np.cosh, (-3, 3), False),
    "erf": (np.vectorize(math.erf, otypes=[float]), (-3, 3), False),
    "exp": (np.exp, (-5, 5), False),
    "exp2": (np.exp2, (-5, 20), True),
    "floor": (np.floor, (-3, 3), False),
    "round": (np.round, (-3, 3), False),
    "sign": (np.sign, (-3, 3), True),
    "sin": (np.sin, (-9, 9), False),
    "sinh": (np.sinh, (-3, 3), False),
    "sqrt": (np.sqrt, (0, 9), False),
    "square": (np.square, (-30, 30), True),
    "tan": (np.tan, (-1.4, 1.4), False),
    "tanh": (np.tanh, (-3, 3), False),
}
BINARY = {
    "add": np.add,
    "equal": np.equal,
    "floor_div": np.floor_divide,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "less": np.less,
    "less_equal": np.less_equal,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "mod": np.mod,
    "mul": np.multiply,
    "not_equal": np.not_equal,
    "pow": np.power,
    "real_div": np.true_divide,
    "sub": np.subtract,
}
LOGICAL = {"logical_and": np.logical_and, "logical_or": np.logical_or, "logical_xor": np.logical_xor}
PAIRS = [((3, 4), (3, 4)), ((3, 4), (4,)), ((2, 1, 3), (1, 4, 1)), ((5,), (1,)), ((1, 2), (2, 3, 1))]


def drawn(low: float, high: float, shape: tuple[int, ...], dtype: str = "float32") -> np.ndarray:
    rng = np.random.default_rng(sum(shape) + len(shape))
    if dtype == "int32":
        return rng.integers(math.ceil(low), int(high) + 1, shape).astype(dtype)
    return rng.uniform(low, high, shape).astype(dtype)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", UNARY)
def test_one_tensor(name, shape):
    function, (low, high), _ = UNARY[name]
    for dtype in ("float32", "float16"):
        x = drawn(low, high, shape, dtype)
        (found,) = run_op(name, {"x": x}, "ios15")
        np.testing.assert_allclose(found, function(x.astype(np.float64)), rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("name", [name for name, (_, _, whole) in UNARY.items() if whole])
def test_one_tensor_of_integers(name):
    function, (low, high), _ = UNARY[name]
    x = drawn(max(low, 0) if name == "exp2" else low, high, (4, 5), "int32")
    (found,) = run_op(name, {"x": x})
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, function(x.astype(np.float64)))


def test_half_goes_to_the_even_neighbour():
    x = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5], np.float32)
    np.testing.assert_array_equal(run_op("round", {"x": x})[0], [-2, -2, -0.0, 0, 2, 2])


@pytest.mark.parametrize("name", ["exp", "tanh", "sin", "sqrt"])
def test_the_mode_fp16_rounds_what_the_type_says(name):
    function, (low, high), _ = UNARY[name]
    half = drawn(max(low, 0), high, (50,), "float16")
    (rounded,) = run_op(name, {"x": half}, mode="fp16")
    np.testing.assert_array_equal(rounded, rounded.astype(np.float16))
    np.testing.assert_allclose(rounded, function(half.astype(np.float64)), rtol=2**-10, atol=2**-15)
    (single,) = run_op(name, {"x": half.astype(np.float32)}, mode="fp16")
    assert (single != single.astype(np.float16)).any(), "fp32 tensors of the program stay what they are"


@pytest.mark.parametrize("pair", PAIRS, ids=str)
@pytest.mark.parametrize("name", BINARY)
def test_two_tensors_are_broadcast(name, pair):
    low = 0.2 if name == "pow" else -4
    x, y = drawn(low, 4, pair[0]), drawn(low, 4, pair[1])
    expected = BINARY[name](x.astype(np.float64), y.astype(np.float64))
    found = run_op(name, {"x": x, "y": y}, "ios15")[0]
    assert found.dtype == (bool if expected.dtype == bool else np.float32)
    np.testing.assert_allclose(found, expected, rtol=4e-6, atol=1e-6)


@pytest.mark.parametrize("name", BINARY)
def test_two_tensors_of_integers(name):
    x, y = drawn(-20, 20, (6, 7), "int32"), drawn(1, 5, (7,), "int32")
    y[::2] *= 1 if name == "pow" else -1
    expected = BINARY[name](x, y)
    found = run_op(name, {"x": x, "y": y})[0]
    np.testing.assert_array_equal(found, np.trunc(expected).astype(found.dtype))
    assert found.dtype == (bool if expected.dtype == bool else np.int32)


def test_division_of_large_integers_is_exact():
    x, y = np.array([2**31 - 1, -(2**31) + 1], np.int32), np.array([1, 1], np.int32)
    np.testing.assert_array_equal(run_op("real_div", {"x": x, "y": y})[0], x)


def test_an_integer_division_by_zero_is_an_error_that_names_the_operation():
    with pytest.raises(EngineFailed, match="run the operation floor_div"):
        run_op("floor_div", {"x": np.array([1], np.int32), "y": np.array([0], np.int32)})


@pytest.mark.parametrize("pair", PAIRS, ids=str)
@pytest.mark.parametrize("name", LOGICAL)
def test_logic(name, pair):
    x, y = drawn(-1, 1, pair[0]) > 0, drawn(-1, 1, pair[1]) > 0.1
    np.testing.assert_array_equal(run_op(name, {"x": x, "y": y})[0], LOGICAL[name](x, y))


def test_not():
    x = drawn(-1, 1, (3, 4)) > 0
    np.testing.assert_array_equal(run_op("logical_not", {"x": x})[0], ~x)


EPSILON = {"inverse": 1e-4, "log": 1e-45, "rsqrt": 1e-12}
OF_SUM = {"inverse": lambda v: 1 / v, "log": np.log, "rsqrt": lambda v: 1 / np.sqrt(v)}


@pytest.mark.parametrize("epsilon", [None, 0.25])
@pytest.mark.parametrize(("name", "opset"), each_version(*EPSILON))
def test_epsilon_is_added_first(name, opset, epsilon):
    x = drawn(0.1, 4, (3, 5))
    given = {} if epsilon is None else {"epsilon": np.float32(epsilon)}
    expected = OF_SUM[name](x.astype(np.float64) + (EPSILON[name] if epsilon is None else epsilon))
    np.testing.assert_allclose(run_op(name, {"x": x}, opset, **given)[0], expected, rtol=3e-6)


def test_the_logarithm_of_zero_is_the_one_of_the_smallest_number():
    np.testing.assert_allclose(run_op("log", {"x": np.zeros(1, np.float32)})[0], np.log(np.float32(1e-45)), rtol=1e-5)


@pytest.mark.parametrize("opset", versions("clip"))
def test_clip(opset):
    x = drawn(-4, 4, (3, 4))
    found = run_op("clip", {"x": x}, opset, alpha=np.float32(-1), beta=np.float32(2))[0]
    np.testing.assert_array_equal(found, np.clip(x, -1, 2))


def test_clip_between_limits_in_the_wrong_order_gives_beta_until_ios16():
    found = run_op("clip", {"x": drawn(-4, 4, (9,))}, "ios16", alpha=np.float32(2), beta=np.float32(-1))[0]
    np.testing.assert_array_equal(found, np.full(9, -1))


@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_threshold(dtype):
    x = drawn(-4, 4, (3, 4), dtype)
    found = run_op("threshold", {"x": x}, alpha=np.dtype(dtype).type(1))[0]
    np.testing.assert_array_equal(found, np.maximum(x, 1))


FIRST_CASTS = ["float32", "float16", "int32", "bool"]
ALL_CASTS = [*FIRST_CASTS, "int8", "uint8", "int16", "uint16"]
IN_MIL = {"float32": "fp32", "float16": "fp16"}


@pytest.mark.parametrize(("opset", "names"), [("ios15", FIRST_CASTS), ("ios17", ALL_CASTS), ("ios18", ALL_CASTS)])
def test_cast_between_all_types(opset, names):
    values = np.array([0, 1, 2.75, 100.5, 77])
    for source in names:
        for result in names:
            x = values.astype(source)
            (found,) = run_op("cast", {"x": x}, opset, dtype=IN_MIL.get(result, result))
            np.testing.assert_array_equal(found, x.astype(result), f"{source} to {result}")


def test_cast_drops_the_fraction_and_wraps_integers():
    x = np.array([-2.7, -0.5, 2.7], np.float32)
    np.testing.assert_array_equal(run_op("cast", {"x": x}, dtype="int32")[0], [-2, 0, 2])
    whole = np.array([-1, 300, 70000, -70000], np.int32)
    for dtype in ("int8", "uint8", "int16", "uint16"):
        np.testing.assert_array_equal(run_op("cast", {"x": whole}, dtype=dtype)[0], whole.astype(dtype), dtype)


def test_cast_to_fp16_is_rounded_in_the_modes_that_round():
    x = np.array([1 + 2**-12, 70000.0], np.float32)
    np.testing.assert_array_equal(run_op("cast", {"x": x}, dtype="fp16")[0], x)
    np.testing.assert_array_equal(run_op("cast", {"x": x}, mode="fp16", dtype="fp16")[0], [1, np.inf])


@pytest.mark.parametrize(
    "shapes", [((3, 4), (3, 4), (3, 4)), ((4,), (3, 4), (1, 4)), ((3, 1), (1, 4), (3, 4))], ids=str
)
@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_select(shapes, dtype):
    cond = drawn(-1, 1, shapes[0]) > 0
    a, b = drawn(-9, 9, shapes[1], dtype), drawn(-9, 9, shapes[2], dtype)
    found = run_op("select", {"cond": cond, "a": a, "b": b})[0]
    np.testing.assert_array_equal(found, np.where(cond, a, b))
