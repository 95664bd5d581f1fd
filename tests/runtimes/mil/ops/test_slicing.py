import numpy as np
import pytest

from edgesmith.errors import EngineFailed
from tests.runtimes.mil.programs import run_op
from tests.runtimes.mil.versions import versions

X = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
# begin, end, the other inputs, and what numpy takes
SLICES = [
    ([0, 1, 2], [2, 3, 5], {}, np.s_[0:2, 1:3, 2:5]),
    ([0, 0, 0], [3, 4, 5], {"stride": [2, 3, 1]}, np.s_[0:3:2, 0:4:3, 0:5]),
    ([-2, -3, -4], [-1, 4, -1], {}, np.s_[-2:-1, -3:4, -4:-1]),
    ([2, 3, 4], [0, 0, 1], {"stride": [-1, -2, -1]}, np.s_[2:0:-1, 3:0:-2, 4:1:-1]),
    ([2, 3, 4], [0, 0, 0], {"stride": [-1, -1, -2], "end_mask": [True] * 3}, np.s_[2::-1, 3::-1, 4::-2]),
    ([9, 1, 1], [9, 2, 2], {"begin_mask": [True, False, True]}, np.s_[:9, 1:2, :2]),
    ([0, 1, 0], [0, 0, 0], {"squeeze_mask": [False, True, False], "end_mask": [True] * 3}, np.s_[:, 1, :]),
    ([-1, -2, 1], [0, 0, 4], {"squeeze_mask": [True, True, False], "stride": [1, 1, 2]}, np.s_[-1, -2, 1:4:2]),
    ([0, 0, 0], [2**31 - 1, 3, 99], {}, np.s_[0:, 0:3, 0:99]),
]


@pytest.mark.parametrize("case", range(len(SLICES)))
@pytest.mark.parametrize("opset", versions("slice_by_index"))
def test_slice_by_index(opset, case):
    begin, end, more, expected = SLICES[case]
    for dtype in ("float32", "int32"):
        found = run_op("slice_by_index", {"x": X.astype(dtype)}, opset, begin=begin, end=end, **more)[0]
        np.testing.assert_array_equal(found, X[expected])


def test_slice_between_computed_places():
    begin, end = np.array([1, 0, -2], np.int32), np.array([3, 1, 5], np.int32)
    np.testing.assert_array_equal(run_op("slice_by_index", {"x": X, "begin": begin, "end": end})[0], X[1:3, 0:1, -2:5])
    with pytest.raises(EngineFailed, match=r"slice_by_index.*element 7 of axis 0"):
        begin[0] = 7
        run_op("slice_by_index", {"x": X, "begin": begin, "end": end}, squeeze_mask=[True, False, False])


def test_one_element_of_a_vector_is_a_number():
    found = run_op("slice_by_index", {"x": X[0, 0]}, begin=[3], end=[0], squeeze_mask=[True])[0]
    assert found.shape == ()
    assert found == X[0, 0, 3]


@pytest.mark.parametrize(
    ("begin", "size", "expected"),
    [
        ([0, 1, 2], [2, 3, 1], np.s_[0:2, 1:4, 2:3]),
        ([1, 0, 2], [-1, -1, 3], np.s_[1:, :, 2:]),
        ([-2, -1, -3], [1, 1, 2], np.s_[-2:-1, -1:, -3:-1]),
    ],
)
@pytest.mark.parametrize("opset", versions("slice_by_size"))
def test_slice_by_size(opset, begin, size, expected):
    found = run_op("slice_by_size", {"x": X}, opset, begin=begin, size=size)[0]
    np.testing.assert_array_equal(found, X[expected])


def test_slice_by_size_beyond_the_end_is_an_error():
    begin = np.array([2, 0, 0], np.int32)
    with pytest.raises(EngineFailed, match="slice_by_size"):
        run_op("slice_by_size", {"x": X, "begin": begin}, size=[2, 1, 1])


@pytest.mark.parametrize("case", range(len(SLICES)))
def test_slice_update(case):
    begin, end, more, where = SLICES[case]
    expected = X.copy()
    update = -np.arange(1, X[where].size + 1, dtype=np.float32).reshape(X[where].shape)
    expected[where] = update
    given = X.copy()
    found = run_op("slice_update", {"x": given, "update": update}, "ios18", begin=begin, end=end, **more)[0]
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(given, X)


@pytest.mark.parametrize(("rows", "columns"), [([0, 1], [1, 1]), ([0, 0], [2, 0])])
def test_crop(rows, columns):
    x = np.arange(48, dtype=np.float32).reshape(1, 2, 4, 6)
    expected = x[:, :, rows[0] : 4 - rows[1], columns[0] : 6 - columns[1]]
    np.testing.assert_array_equal(run_op("crop", {"x": x}, crop_height=rows, crop_width=columns)[0], expected)


@pytest.mark.parametrize(("lower", "upper"), [(-1, -1), (0, -1), (-1, 0), (0, 0), (1, 2), (2, -1)])
def test_band_part(lower, upper):
    for dtype in ("float32", "int32"):
        x = (X + 1).astype(dtype)
        expected = np.zeros_like(x)
        for m in range(4):
            for n in range(5):
                if (lower < 0 or m - n <= lower) and (upper < 0 or n - m <= upper):
                    expected[:, m, n] = x[:, m, n]
        np.testing.assert_array_equal(run_op("band_part", {"x": x}, lower=lower, upper=upper)[0], expected)
