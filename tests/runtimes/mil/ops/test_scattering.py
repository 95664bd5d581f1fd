import numpy as np
import pytest

from edgesmith.errors import EngineFailed
from tests.runtimes.mil.programs import mb, run, run_op
from tests.runtimes.mil.versions import versions

RNG = np.random.default_rng(6)
X = RNG.permutation(120).reshape(4, 5, 6).astype(np.float32)
NEGATIVE = {"ios15", "ios16"}  # where negative indices are defined


def indices(opset, size, shape):
    return RNG.integers(-size if opset in NEGATIVE else 0, size, shape).astype(np.int32)


SCATTERS = {
    "update": lambda old, new: new,
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "max": np.maximum,
    "min": np.minimum,
}


def scattered(name, feed, opset, **given):
    return run(lambda **variables: getattr(mb, name)(**variables, **given), feed, opset)[0]


def written(data, places, mode):
    """One write after another: (index into data, value)."""
    result = data.astype(np.float64)
    for where, value in places:
        result[where] = SCATTERS[mode](result[where], value)
    return np.trunc(result) if data.dtype.kind == "i" else result


@pytest.mark.parametrize("mode", SCATTERS)
@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("opset", versions("scatter"))
def test_scatter(opset, axis, mode):
    for dtype in ("float32", "int32"):
        data = X.astype(dtype)
        where = indices(opset, X.shape[axis], (3,))
        if mode != "update":
            where[2] = where[0]  # twice the same place
        else:
            where[:] = [0, 2, 1]
        updates = RNG.integers(1, 5, np.take(X, where, axis).shape).astype(dtype)
        expected = np.moveaxis(data, axis, 0)
        expected = written(expected, zip(where, np.moveaxis(updates, axis, 0)), mode)
        found = scattered("scatter", {"data": data, "indices": where, "updates": updates}, opset, axis=axis, mode=mode)
        np.testing.assert_allclose(found, np.moveaxis(expected, 0, axis), rtol=1e-6)
        assert found.dtype == dtype


@pytest.mark.parametrize("mode", SCATTERS)
@pytest.mark.parametrize("axis", [0, -1])
@pytest.mark.parametrize("opset", versions("scatter_along_axis"))
def test_scatter_along_axis(opset, axis, mode):
    shape = list(X.shape)
    shape[axis] = 3
    where = indices(opset, X.shape[axis], shape)
    updates = RNG.integers(1, 5, shape).astype(np.float32)
    places = []
    for place in np.ndindex(*shape):
        target = list(place)
        target[axis] = where[place]
        places.append((tuple(target), updates[place]))
    feed = {"data": X, "indices": where, "updates": updates}
    found = scattered("scatter_along_axis", feed, opset, axis=axis, mode=mode)
    np.testing.assert_allclose(found, written(X, places, mode), rtol=1e-6)


@pytest.mark.parametrize("mode", SCATTERS)
@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("opset", versions("scatter_nd"))
def test_scatter_nd(opset, depth, mode):
    where = np.stack([indices(opset, size, (2, 4)) for size in X.shape[:depth]], -1)
    if mode == "update":  # no place twice: which write wins is not defined
        where[..., 0] = np.arange(8).reshape(2, 4) % 4
        where = where[:1]
    updates = RNG.integers(1, 5, (*where.shape[:-1], *X.shape[depth:])).astype(np.float32)
    places = [(tuple(where[i]), updates[i]) for i in np.ndindex(*where.shape[:-1])]
    found = scattered("scatter_nd", {"data": X, "indices": where, "updates": updates}, opset, mode=mode)
    np.testing.assert_allclose(found, written(X, places, mode), rtol=1e-6)


def test_scatter_adds_by_default_and_leaves_its_input_alone():
    data = np.array([[1, 2, 3], [4, 5, 6]], np.int32)  # the example of coremltools' description
    feed = {"data": data, "indices": np.array([1, 0], np.int32), "updates": np.array([[5, 6, 7], [8, 9, 10]], np.int32)}
    np.testing.assert_array_equal(run_op("scatter", feed)[0], [[9, 11, 13], [9, 11, 13]])
    np.testing.assert_array_equal(data, [[1, 2, 3], [4, 5, 6]])


def test_scatter_validates_on_demand():
    feed = {"data": X, "indices": np.array([-1], np.int32), "updates": X[:1]}
    with pytest.raises(EngineFailed, match="index -1 of an axis of 4"):
        run_op("scatter", feed, validate_indices=True)
    np.testing.assert_array_equal(run_op("scatter", feed)[0][3], X[3] + X[0])
