import numpy as np
import pytest

from edgesmith.errors import EngineFailed
from tests.runtimes.mil.programs import mb, run

X = np.arange(12, dtype=np.float32).reshape(3, 4)


def rows(x):
    """A list of the rows of x, and a first element of zeros."""
    made = mb.make_list(init_length=1, elem_shape=(4,), dtype="fp32")
    for i in range(3):
        row = mb.slice_by_index(x=x, begin=[i, 0], end=[0, 4], squeeze_mask=[True, False])
        made = mb.list_write(ls=made, index=i + 1, value=row)
    return made


def test_a_list_is_written_and_read():
    def body(x):
        made = rows(x)
        return mb.list_read(ls=made, index=2), mb.list_read(ls=made, index=0), mb.list_length(ls=made)

    second, first, length = run(body, {"x": X})
    np.testing.assert_array_equal(second, X[1])
    np.testing.assert_array_equal(first, np.zeros(4))
    assert length == 4


def test_gather_packs_elements():
    (found,) = run(lambda x: mb.list_gather(ls=rows(x), indices=[3, 1, 1]), {"x": X})
    np.testing.assert_array_equal(found, X[[2, 0, 0]])


def test_scatter_writes_elements_and_leaves_the_other_list_alone():
    def body(x):
        before = rows(x)
        after = mb.list_scatter(
            ls=before, indices=[5, 1], value=mb.mul(x=mb.slice_by_size(x=x, begin=[0, 0], size=[2, 4]), y=10.0)
        )
        every = mb.list_gather(ls=after, indices=[0, 1, 2, 3, 4, 5])
        return every, mb.list_read(ls=before, index=1), mb.list_length(ls=after)

    every, before, length = run(body, {"x": X})
    zero = np.zeros(4)
    np.testing.assert_array_equal(every, [zero, X[1] * 10, X[1], X[2], zero, X[0] * 10])
    np.testing.assert_array_equal(before, X[0])
    assert length == 6


def test_the_place_may_be_computed_and_must_be_inside():
    def body(x, place):
        return mb.list_read(ls=rows(x), index=mb.squeeze(x=place))

    np.testing.assert_array_equal(run(body, {"x": X, "place": np.array([3], np.int32)})[0], X[2])
    with pytest.raises(EngineFailed, match="element 4 of a list of 4"):
        run(body, {"x": X, "place": np.array([4], np.int32)})


def test_a_list_cannot_grow_without_end():
    def body(x, place):
        return mb.list_length(ls=mb.list_write(ls=rows(x), index=mb.squeeze(x=place), value=np.zeros(4, np.float32)))

    assert run(body, {"x": X, "place": np.array([9], np.int32)})[0] == 10
    with pytest.raises(EngineFailed, match="a list of"):
        run(body, {"x": X, "place": np.array([2**31 - 1], np.int32)})


def test_elements_of_more_axes_and_of_sizes_that_are_names():
    def body(x):
        made = mb.make_list(init_length=1, elem_shape=(3, 4), dtype="fp32")
        named = mb.make_list(init_length=1, elem_shape=("rows", "columns"), dtype="fp32")
        return [mb.list_read(ls=mb.list_write(ls=one, index=0, value=x), index=0) for one in (made, named)]

    for found in run(body, {"x": X}):
        np.testing.assert_array_equal(found, X)


def test_other_types():
    def body(x):
        made = mb.make_list(init_length=2, elem_shape=(4,), dtype="int32", dynamic_length=False)
        return mb.list_gather(ls=mb.list_write(ls=made, index=1, value=mb.cast(x=x, dtype="int32")), indices=[0, 1])

    (found,) = run(body, {"x": X[2]})
    np.testing.assert_array_equal(found, [np.zeros(4), X[2]])
    assert found.dtype == np.int32
