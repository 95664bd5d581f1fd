import numpy as np
import pytest
import torch
import torch.nn.functional as F

from edgesmith.errors import EngineFailed
from tests.runtimes.mil.programs import run_op
from tests.runtimes.mil.versions import versions

RNG = np.random.default_rng(4)


def points(size, count, mode):
    """Where the description of resize_bilinear says that the points lie."""
    i = np.arange(count)
    if mode == "ALIGN_CORNERS" and count == 1:
        return np.array([(size - 1) / 2])
    if mode in ("ALIGN_CORNERS", "STRICT_ALIGN_CORNERS"):
        found = i * (size - 1) / (count - 1) if count > 1 else i * 0.0
    elif mode == "DEFAULT":
        found = i * (size - size / count) / (count - 1) if count > 1 else i * 0.0
    elif mode == "OFFSET_CORNERS":
        delta = max(1, size - 1) / count
        found = 0.5 * delta + i * delta
    else:
        found = i * size / count + 0.5 * size / count - 0.5
    return np.minimum(size - 1, np.maximum(0, found))


def interpolated(x, axis, count, mode):
    places = points(x.shape[axis], count, mode)
    return np.apply_along_axis(lambda row: np.interp(places, np.arange(len(row)), row), axis, x.astype(np.float64))


MODES = ["STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "DEFAULT", "OFFSET_CORNERS", "UNALIGN_CORNERS"]
SIZES = [(4, 6), (7, 3), (1, 1), (5, 12), (2, 1)]


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("mode", MODES)
def test_resize_bilinear(mode, size):
    for shape in ((2, 3, 4, 6), (2, 5, 3), (1, 1, 2, 1, 4)):
        x = RNG.uniform(-1, 1, shape).astype(np.float32)
        expected = interpolated(interpolated(x, -2, size[0], mode), -1, size[1], mode)
        given = {"target_size_height": size[0], "target_size_width": size[1], "sampling_mode": mode}
        (found,) = run_op("resize_bilinear", {"x": x}, "ios15", **given)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


# Two elements resized to five and six: the examples of coremltools' description of the modes.
EXAMPLES = {
    "UNALIGN_CORNERS": ([0, 0.1, 0.5, 0.9, 1], [0, 0, 1 / 3, 2 / 3, 1, 1]),
    "STRICT_ALIGN_CORNERS": ([0, 0.25, 0.5, 0.75, 1], [0, 0.2, 0.4, 0.6, 0.8, 1]),
    "ALIGN_CORNERS": ([0, 0.25, 0.5, 0.75, 1], [0, 0.2, 0.4, 0.6, 0.8, 1]),
    "DEFAULT": ([0, 0.4, 0.8, 1, 1], [0, 1 / 3, 2 / 3, 1, 1, 1]),
    "OFFSET_CORNERS": ([0.1, 0.3, 0.5, 0.7, 0.9], [1 / 12, 3 / 12, 5 / 12, 7 / 12, 9 / 12, 11 / 12]),
}


@pytest.mark.parametrize("mode", EXAMPLES)
def test_the_examples_of_the_description(mode):
    x = np.array([[[0, 1]]], np.float32)
    for expected in EXAMPLES[mode]:
        given = {"target_size_height": 1, "target_size_width": len(expected), "sampling_mode": mode}
        np.testing.assert_allclose(run_op("resize_bilinear", {"x": x}, **given)[0], [[expected]], atol=1e-6)
        shape = [1, 1, len(expected)]
        (found,) = run_op("resize", {"x": x}, shape=shape, resized_dims=np.uint32(2), sampling_mode=mode)
        np.testing.assert_allclose(found, [[expected]], atol=1e-6)


@pytest.mark.parametrize("factors", [(3, 4), (2.5, 2.0), (0.5, 0.75), (1.1, 0.7)], ids=str)
@pytest.mark.parametrize("opset", versions("upsample_bilinear"))
@pytest.mark.parametrize("align", [True, False])
def test_upsample_bilinear_is_the_one_of_pytorch(align, opset, factors):
    x = RNG.uniform(-9, 9, (2, 3, 10, 20)).astype(np.float32)
    size = [int(np.floor(np.float32(factor) * np.float32(n))) for factor, n in zip(factors, (10, 20))]
    expected = F.interpolate(torch.from_numpy(x), size=size, mode="bilinear", align_corners=align)
    given = {"scale_factor_height": factors[0], "scale_factor_width": factors[1], "align_corners": align}
    np.testing.assert_allclose(run_op("upsample_bilinear", {"x": x}, opset, **given)[0], expected, rtol=1e-4, atol=2e-5)


THIRDS = [1, 4 / 3, 5 / 3]


@pytest.mark.parametrize(
    ("align", "half", "expected"),
    [
        (True, None, [1, 1.2, 1.4, 1.6, 1.8, 2]),
        (True, False, [1, 1.2, 1.4, 1.6, 1.8, 2]),
        (False, None, [1, *THIRDS, 2, 2]),
        (False, True, [1, *THIRDS, 2, 2]),
        (False, False, [*THIRDS, 2, 2, 2]),
    ],
)
def test_half_pixel_centers(align, half, expected):
    x = np.array([[[[1, 2]]]], np.float32)
    given = {"scale_factor_height": 2, "scale_factor_width": 3, "align_corners": align}
    given |= {} if half is None else {"half_pixel_centers": half}
    (found,) = run_op("upsample_bilinear", {"x": x}, "ios16", **given)
    np.testing.assert_allclose(found[0, 0], [expected, expected], rtol=1e-5)


@pytest.mark.parametrize("size", [(8, 12), (6, 9), (3, 2), (1, 1)], ids=str)
def test_nearest_neighbours_by_size(size):
    x = RNG.uniform(-1, 1, (2, 3, 4, 6)).astype(np.float32)
    expected = F.interpolate(torch.from_numpy(x), size=size, mode="nearest")
    given = {"target_size_height": size[0], "target_size_width": size[1]}
    np.testing.assert_array_equal(run_op("resize_nearest_neighbor", {"x": x}, **given)[0], expected)


@pytest.mark.parametrize("factors", [(2, 3), (1, 1), (2.5, 1.5)], ids=str)
def test_nearest_neighbours_by_factor(factors):
    x = RNG.uniform(-1, 1, (2, 3, 4, 6)).astype(np.float32)
    size = [int(n * factor) for n, factor in zip((4, 6), factors)]
    rows, columns = ([i * n // out for i in range(out)] for n, out in zip((4, 6), size))
    given = {"scale_factor_height": factors[0], "scale_factor_width": factors[1]}
    found = run_op("upsample_nearest_neighbor", {"x": x}, **given)[0]
    np.testing.assert_array_equal(found, x[:, :, rows][:, :, :, columns])


def test_what_core_ml_answers_for_fractional_factors_in_coremltools_own_test():
    x = np.array([[[[1.5, -2.5, 3.5]]]], np.float32)
    for factors, expected in (((3.17, 0.67), [[1.5, -2.5]] * 3), ((2.0, 1.12), [[1.5, -2.5, 3.5]] * 2)):
        given = {"scale_factor_height": factors[0], "scale_factor_width": factors[1]}
        np.testing.assert_array_equal(run_op("upsample_nearest_neighbor", {"x": x}, **given)[0][0, 0], expected)


def test_what_core_ml_answers_for_the_nearest_neighbour_of_resize_in_coremltools_own_test():
    x = np.array([-6.174, 9.371], np.float32).reshape(1, 1, 2, 1)
    given = {"resized_dims": np.uint32(2), "interpolation_mode": "NEAREST_NEIGHBOR"}
    expected = x[:, :, [0, 1, 1]][:, :, :, [0, 0]]
    np.testing.assert_array_equal(run_op("resize", {"x": x}, shape=[1, 1, 3, 2], **given)[0], expected)
    at_run_time = {"x": x, "shape": np.array([1, 1, 3, 2], np.int32)}
    np.testing.assert_array_equal(run_op("resize", at_run_time, **given)[0], expected)


@pytest.mark.parametrize("mode", MODES)
def test_resize_of_any_axes(mode):
    x = RNG.uniform(-1, 1, (2, 3, 4, 5)).astype(np.float32)
    (found,) = run_op("resize", {"x": x}, shape=[9, 6, 0, 7], resized_dims=np.uint32(3), sampling_mode=mode)
    expected = interpolated(interpolated(x, 1, 6, mode), 3, 7, mode)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_resize_to_the_nearest_neighbour_of_the_same_points(mode):
    x = np.arange(30, dtype=np.int32).reshape(1, 1, 5, 6)
    given = {"resized_dims": np.uint32(2), "interpolation_mode": "NEAREST_NEIGHBOR", "sampling_mode": mode}
    (found,) = run_op("resize", {"x": x}, shape=[8, 4], **given)
    rows, columns = (np.floor(points(n, count, mode) + 0.5).astype(int) for n, count in ((5, 8), (6, 4)))
    np.testing.assert_array_equal(found, x[:, :, rows][:, :, :, columns])


def test_a_huge_size_is_refused():
    shape = np.array([2**30, 2**30], np.int32)
    with pytest.raises(EngineFailed, match="make a tensor"):
        run_op("resize", {"x": np.zeros((1, 1, 2, 2), np.float32), "shape": shape}, resized_dims=np.uint32(2))
