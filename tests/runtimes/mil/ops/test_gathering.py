import numpy as np
import pytest

from edgesmith.errors import EngineFailed
from tests.runtimes.mil.programs import run_op
from tests.runtimes.mil.versions import versions

RNG = np.random.default_rng(5)
X = RNG.permutation(120).reshape(4, 5, 6).astype(np.float32)
NEGATIVE = {"ios15", "ios16"}  # where negative indices are defined


def indices(opset, size, shape, dtype="int32"):
    return RNG.integers(-size if opset in NEGATIVE else 0, size, shape).astype(dtype)


@pytest.mark.parametrize("shape", [(), (3,), (2, 3)], ids=str)
@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("opset", versions("gather"))
def test_gather(opset, axis, shape):
    where = indices(opset, X.shape[axis], shape)
    for dtype in ("float32", "int32"):
        x = X.astype(dtype)
        found = run_op("gather", {"x": x}, opset, indices=where, axis=axis)[0]
        np.testing.assert_array_equal(found, np.take(x, where, axis))
    if shape:
        found = run_op("gather", {"x": X, "indices": where}, opset, axis=axis)[0]
        np.testing.assert_array_equal(found, np.take(X, where, axis))


@pytest.mark.parametrize(("axis", "batch_dims"), [(1, 1), (2, 1), (2, 2), (-1, 1), (-1, 2)])
@pytest.mark.parametrize("opset", ["ios16", "ios17", "ios18"])
def test_gather_in_batches(opset, axis, batch_dims):
    axis_ = axis % 3
    where = indices(opset, X.shape[axis], (*X.shape[:batch_dims], 2, 3))
    batches = [np.take(X[b], where[b], axis_ - batch_dims) for b in np.ndindex(*X.shape[:batch_dims])]
    expected = np.stack(batches).reshape(*X.shape[:batch_dims], *batches[0].shape)
    found = run_op("gather", {"x": X, "indices": where}, opset, axis=axis, batch_dims=batch_dims)[0]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("opset", versions("gather_along_axis"))
def test_gather_along_axis(opset, axis):
    shape = list(X.shape)
    shape[axis] = 3
    where = indices(opset, X.shape[axis], shape)
    found = run_op("gather_along_axis", {"x": X, "indices": where}, opset, axis=axis)[0]
    np.testing.assert_array_equal(found, np.take_along_axis(X, where, axis))


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("opset", versions("gather_nd"))
def test_gather_nd(opset, depth):
    where = np.stack([indices(opset, size, (2, 3)) for size in X.shape[:depth]], -1)
    found = run_op("gather_nd", {"x": X, "indices": where}, opset)[0]
    np.testing.assert_array_equal(found, X[tuple(np.moveaxis(where, -1, 0))])


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("opset", ["ios16", "ios17"])
def test_gather_nd_in_batches(opset, depth):
    where = np.stack([indices(opset, size, (4, 2)) for size in X.shape[1 : 1 + depth]], -1)
    expected = np.stack([X[b][tuple(where[b].T)] for b in range(4)])
    found = run_op("gather_nd", {"x": X, "indices": where}, opset, batch_dims=1)[0]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("dtype", ["int16", "uint16", "int8", "uint8"])
def test_small_indices_and_values(dtype):
    where = np.array([3, 0, 2], dtype)
    for x in (X, X.astype("int8"), X.astype("uint16")):
        np.testing.assert_array_equal(run_op("gather", {"x": x, "indices": where})[0], x[where])


FEEDS = {
    "gather": lambda place: {"x": X, "indices": np.array([0, place], np.int32)},
    "gather_along_axis": lambda place: {"x": X, "indices": np.full((1, 5, 6), place, np.int32)},
    "gather_nd": lambda place: {"x": X, "indices": np.array([[place]], np.int32)},
}


@pytest.mark.parametrize("name", FEEDS)
def test_an_index_outside_is_an_error_that_says_which(name):
    for place, validate in ((4, False), (4, True), (-1, True), (-5, False)):
        with pytest.raises(EngineFailed, match=rf"run the operation {name} .*index {place} of an axis of 4 elements"):
            run_op(name, FEEDS[name](place), validate_indices=validate)
