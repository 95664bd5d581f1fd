import numpy as np
import pytest

from edgesmith.errors import EngineFailed
from tests.runtimes.mil.programs import mb, run, run_op

X = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_concat(axis):
    for dtype in ("float32", "int32"):
        a, b = X.astype(dtype), -X.astype(dtype)
        found = run(lambda a, b: mb.concat(values=[a, b, a], axis=axis), {"a": a, "b": b})[0]
        np.testing.assert_array_equal(found, np.concatenate([a, b, a], axis))


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_concat_interleaved(axis):
    found = run(lambda a, b: mb.concat(values=[a, b], axis=axis, interleave=True), {"a": X, "b": -X})[0]
    for place, part in ((0, X), (1, -X)):
        np.testing.assert_array_equal(np.take(found, range(place, found.shape[axis], 2), axis), part)


def test_concat_of_numbers_is_a_vector():
    def body(x):
        return mb.concat(values=[mb.reduce_sum(x=x, axes=[0]), mb.reduce_max(x=x, axes=[0])], axis=0)

    np.testing.assert_array_equal(run(body, {"x": np.array([1, 2, 3], np.float32)})[0], [6, 3])


@pytest.mark.parametrize("axis", [0, 1, 3, -1])
def test_stack(axis):
    found = run(lambda a, b: mb.stack(values=[a, b], axis=axis), {"a": X, "b": -X})[0]
    np.testing.assert_array_equal(found, np.stack([X, -X], axis))


@pytest.mark.parametrize(
    ("axis", "how", "places"),
    [
        (2, {"num_splits": 2}, [2]),
        (-1, {"split_sizes": [1, 3]}, [1]),
        (1, {"num_splits": 3}, [1, 2]),
        (0, {"num_splits": 1}, []),
        (-1, {"split_sizes": [1, 1, 2], "num_splits": 3}, [1, 2]),
    ],
)
def test_split(axis, how, places):
    found = run_op("split", {"x": X}, axis=axis, **how)
    for part, expected in zip(found, np.split(X, places, axis), strict=True):
        np.testing.assert_array_equal(part, expected)


@pytest.mark.parametrize("reps", [[1, 2, 3], [2, 1, 1], [1, 1, 1]], ids=str)
def test_tile(reps):
    for dtype in ("float32", "int32", "bool"):
        x = X.astype(dtype)
        np.testing.assert_array_equal(run_op("tile", {"x": x}, reps=reps)[0], np.tile(x, reps))


def padded(feed, **given):
    return run(lambda **variables: mb.pad(**variables, **given), feed)[0]


MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge"}


@pytest.mark.parametrize("pad", [[1, 2], [0, 1, 2, 0], [0, 0, 1, 1, 2, 3], [1, 0, 2, 1, 3, 3]], ids=str)
@pytest.mark.parametrize("mode", MODES)
def test_pad(mode, pad):
    widths = [(0, 0)] * (3 - len(pad) // 2) + [(pad[i], pad[i + 1]) for i in range(0, len(pad), 2)]
    expected = np.pad(X, widths, MODES[mode])
    np.testing.assert_array_equal(padded({"x": X}, pad=pad, mode=mode), expected)
    at_run_time = np.array([amount for pair in widths for amount in pair], np.int32)
    np.testing.assert_array_equal(padded({"x": X, "pad": at_run_time}, mode=mode), expected)


def test_pad_with_a_value_and_its_limits():
    found = run_op("pad", {"x": X}, pad=[1, 1], constant_val=np.float32(-3))[0]
    np.testing.assert_array_equal(found, np.pad(X, [(0, 0), (0, 0), (1, 1)], constant_values=-3))
    for mode, pad in (("reflect", [0, 0, 0, 0, 4, 0]), ("constant", [-1, 0, 0, 0, 0, 0])):
        with pytest.raises(EngineFailed, match="run the operation pad"):
            padded({"x": X, "pad": np.array(pad, np.int32)}, mode=mode)
    with pytest.raises(EngineFailed, match="elements"):
        run_op("pad", {"x": X, "pad": np.array([0, 0, 0, 0, 0, 2**31 - 1], np.int32)})


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
def test_cumsum(axis, exclusive, reverse):
    for dtype in ("float32", "int32"):
        x = X.astype(dtype)
        turned = np.flip(x, axis) if reverse else x
        total = np.cumsum(turned, axis) - (turned if exclusive else 0)
        expected = np.flip(total, axis) if reverse else total
        found = run_op("cumsum", {"x": x}, axis=axis, exclusive=exclusive, reverse=reverse)[0]
        np.testing.assert_array_equal(found, expected)
