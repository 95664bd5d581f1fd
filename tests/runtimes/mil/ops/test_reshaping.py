import numpy as np
import pytest
import torch
import torch.nn.functional as F

from edgesmith.errors import EngineFailed
from tests.runtimes.mil.programs import mb, run, run_op
from tests.runtimes.mil.versions import versions

DTYPES = ["float32", "int32", "bool"]


def counted(*shape: int, dtype: str = "float32") -> np.ndarray:
    x = np.arange(np.prod(shape, dtype=int)).reshape(shape)
    return x % 3 == 0 if dtype == "bool" else x.astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("opset", versions("reshape"))
def test_reshape(opset, dtype):
    x = counted(2, 3, 4, dtype=dtype)
    for shape, expected in [([6, 4], (6, 4)), ([2, -1], (2, 12)), ([0, 2, -1], (2, 2, 6)), ([-1], (24,))]:
        np.testing.assert_array_equal(run_op("reshape", {"x": x}, opset, shape=shape)[0], x.reshape(expected))


@pytest.mark.parametrize(
    ("given", "shape", "expected"),
    [((2, 50), [1, 0, -1, 0], (1, 1, 2, 50)), ((2, 3, 4), [-1, 0], (6, 4)), ((2, 3), [0, 0, 3, 2], None)],
)
def test_zeros_of_reshape_count_from_the_right_since_ios17(given, shape, expected):
    x = counted(*given)
    if expected is None:  # zeros where x has no axis are 1: (1, 1, 3, 2)
        expected = (1, 1, 3, 2)
    np.testing.assert_array_equal(run_op("reshape", {"x": x}, shape=shape)[0], x.reshape(expected))


def test_reshape_to_a_shape_that_is_computed():
    x, shape = counted(2, 6), np.array([3, -1], np.int32)
    np.testing.assert_array_equal(run_op("reshape", {"x": x, "shape": shape})[0], x.reshape(3, 4))
    with pytest.raises(EngineFailed, match="reshape"):
        run_op("reshape", {"x": x, "shape": np.array([5, 5], np.int32)})


@pytest.mark.parametrize("opset", versions("reshape_like"))
def test_reshape_like(opset):
    x, first, second = counted(30, 6), counted(2, 3, 4), counted(1, 5, 6)

    def body(x, first, second):
        parts = {"begins": (0, 1), "ends": (2, 0), "end_masks": (False, True)}
        return mb.reshape_like(x=x, ref_tensors=(first, second), **parts)

    found = run(body, {"x": x, "first": first, "second": second}, opset)[0]
    np.testing.assert_array_equal(found, x.reshape(2, 3, 5, 6))


@pytest.mark.parametrize("axes", [[0], [-1], [1, 3], [0, -1, 2]], ids=str)
@pytest.mark.parametrize("opset", versions("expand_dims"))
def test_expand_dims(opset, axes):
    x = counted(2, 3)
    np.testing.assert_array_equal(run_op("expand_dims", {"x": x}, opset, axes=axes)[0], np.expand_dims(x, axes))


@pytest.mark.parametrize(
    ("axes", "expected"), [(None, (3, 2)), ([0], (3, 1, 2)), ([-2, 0], (3, 2)), ([0, 1], (3, 1, 2))], ids=str
)
@pytest.mark.parametrize("opset", versions("squeeze"))
def test_squeeze_leaves_axes_of_other_sizes(opset, axes, expected):
    x = counted(1, 3, 1, 2)
    given = {} if axes is None else {"axes": axes}
    np.testing.assert_array_equal(run_op("squeeze", {"x": x}, opset, **given)[0], x.reshape(expected))


@pytest.mark.parametrize("perm", [[2, 0, 1], [-1, 0, 1], [0, 2, 1], [0, 1, 2]], ids=str)
@pytest.mark.parametrize("opset", versions("transpose"))
def test_transpose(opset, perm):
    for dtype in DTYPES:
        x = counted(2, 3, 4, dtype=dtype)
        np.testing.assert_array_equal(run_op("transpose", {"x": x}, opset, perm=perm)[0], x.transpose(perm))


@pytest.mark.parametrize(
    ("shape", "axis", "expected"),
    [((3,), -1, (1, 3)), ((3,), 1, (3, 1)), ((4, 3), -1, (4, 3)), ((2, 3, 2), -1, (6, 2)), ((5, 5, 2), 1, (5, 10))],
)
def test_flatten2d(shape, axis, expected):
    x = counted(*shape)
    np.testing.assert_array_equal(run_op("flatten2d", {"x": x}, axis=axis)[0], x.reshape(expected))


@pytest.mark.parametrize("axes", [None, [0], [-1, 1]], ids=str)
@pytest.mark.parametrize("opset", versions("reverse"))
def test_reverse(opset, axes):
    given = {} if axes is None else {"axes": axes}
    for dtype in DTYPES:
        x = counted(2, 3, 4, dtype=dtype)
        np.testing.assert_array_equal(run_op("reverse", {"x": x}, opset, **given)[0], np.flip(x, axes))


@pytest.mark.parametrize(("seq", "batch"), [(1, 0), (0, 1), (2, 0), (1, 2)])
@pytest.mark.parametrize("opset", versions("reverse_sequence"))
def test_reverse_sequence(opset, seq, batch):
    x = counted(3, 4, 5)
    lengths = np.array([2, 0, 3, 1, 2][: x.shape[batch]], np.int32)
    expected = x.copy()
    for b, length in enumerate(lengths):
        for place in range(length):
            where, source = [slice(None)] * 3, [slice(None)] * 3
            where[batch], source[batch] = b, b
            where[seq], source[seq] = place, length - 1 - place
            expected[tuple(where)] = x[tuple(source)]
    found = run_op("reverse_sequence", {"x": x, "lengths": lengths}, opset, seq_axis=seq, batch_axis=batch)[0]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("axis", "size", "stride"), [(1, 3, 1), (-2, 2, 2), (-1, 4, 3), (0, 2, 1)])
@pytest.mark.parametrize("opset", versions("sliding_windows"))
def test_sliding_windows(opset, axis, size, stride):
    x = counted(2, 6, 8)
    windows = np.lib.stride_tricks.sliding_window_view(x, size, axis)  # the window is the last axis
    windows = np.moveaxis(
        np.take(windows, range(0, windows.shape[axis - (axis < 0)], stride), axis - (axis < 0)), -1, axis % 3 + 1
    )
    found = run_op("sliding_windows", {"x": x}, opset, axis=axis, size=size, stride=stride)[0]
    np.testing.assert_array_equal(found, windows)


def test_pixels_and_channels():
    x = counted(2, 12, 4, 6)
    torch_x = torch.from_numpy(x)
    shuffled = run_op("pixel_shuffle", {"x": x}, upscale_factor=2)[0]
    np.testing.assert_array_equal(shuffled, F.pixel_shuffle(torch_x, 2))
    unshuffled = run_op("pixel_unshuffle", {"x": x}, "ios16", downscale_factor=np.uint32(2))[0]
    np.testing.assert_array_equal(unshuffled, F.pixel_unshuffle(torch_x, 2))


def test_the_example_of_depth_to_space():
    # NeuralNetwork.proto, ReorganizeDataLayerParams: 8 channels, 1 x 2.
    x = np.arange(1, 17, dtype=np.float32).reshape(1, 8, 1, 2)
    expected = [[[1, 5, 2, 6], [9, 13, 10, 14]], [[3, 7, 4, 8], [11, 15, 12, 16]]]
    found = run_op("depth_to_space", {"x": x}, block_size=2)[0]
    np.testing.assert_array_equal(found[0], expected)
    np.testing.assert_array_equal(run_op("space_to_depth", {"x": found}, block_size=2)[0], x)


@pytest.mark.parametrize("block", [2, 3])
def test_depth_and_space_are_inverse(block):
    x = counted(2, 2 * block**2, 3, 2)
    wide = run_op("depth_to_space", {"x": x}, block_size=block)[0]
    c = x.shape[1]
    for (b, channel, row, column), value in np.ndenumerate(wide):
        depth = ((row % block) * block + column % block) * (c // block**2) + channel
        assert value == x[b, depth, row // block, column // block]
    np.testing.assert_array_equal(run_op("space_to_depth", {"x": wide}, block_size=block)[0], x)


@pytest.mark.parametrize("paddings", [[[0, 0], [0, 0]], [[1, 1], [2, 1]]], ids=str)
def test_space_and_batch(paddings):
    x = counted(2, 3, 4, 6)
    rows, columns = 2, 3
    padded = np.pad(x, [(0, 0), (0, 0), *paddings])
    expected = np.concatenate([padded[:, :, i::rows, j::columns] for i in range(rows) for j in range(columns)])
    given = {"block_shape": [rows, columns], "paddings": np.array(paddings, np.int32)}
    found = run_op("space_to_batch", {"x": x}, **given)[0]
    np.testing.assert_array_equal(found, expected)
    given = {"block_shape": [rows, columns], "crops": np.array(paddings, np.int32)}
    np.testing.assert_array_equal(run_op("batch_to_space", {"x": found}, **given)[0], x)


def test_shape_and_identity():
    x = counted(2, 3, 4)
    np.testing.assert_array_equal(run_op("shape", {"x": x})[0], [2, 3, 4])
    np.testing.assert_array_equal(run_op("identity", {"x": x})[0], x)


@pytest.mark.parametrize("name", ["transpose", "reverse", "squeeze", "expand_dims"])
@pytest.mark.parametrize("opset", ["ios17", "ios18"])
def test_small_integers_from_ios17_on(name, opset):
    given = {"transpose": {"perm": [1, 0]}, "reverse": {"axes": [0]}, "squeeze": {}, "expand_dims": {"axes": [0]}}[name]
    for dtype in ("int8", "uint8", "int16", "uint16"):
        x = counted(2, 3, dtype=dtype)
        expected = {"transpose": x.T, "reverse": x[::-1], "squeeze": x, "expand_dims": x[None]}[name]
        np.testing.assert_array_equal(run_op(name, {"x": x}, opset, **given)[0], expected)
