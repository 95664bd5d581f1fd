import numpy as np
import pytest
import torch
import torch.nn.functional as F

from edgesmith.errors import EngineFailed
from tests.runtimes.mil.programs import run_op
from tests.runtimes.mil.versions import versions

RNG = np.random.default_rng(8)
X = RNG.uniform(-1, 1, (2, 3, 4, 6)).astype(np.float32)
SMALL = np.array([[[[11, 22], [33, 44]]]], np.float32)
PLACES = np.array([[-1, -2], [-3.7, -1], [0, 0], [3.5, 1.2]], np.float32).reshape(1, 2, 2, 2)


def resampled(x, coordinates, opset="ios17", **given):
    how = {"sampling_mode": "bilinear", "padding_mode": "constant", "padding_value": np.float32(0)}
    how |= {"coordinates_mode": "normalized_minus_one_to_one", "align_corners": True}
    return run_op("resample", {"x": x, "coordinates": coordinates}, opset, **(how | given))[0]


# What Core ML is expected to answer in coremltools' tests of resample.
EXPECTED = [
    ("bilinear", "constant", 6.17, "normalized_minus_one_to_one", True, [8.585, 6.17, 27.5, 6.17]),
    ("nearest", "border", -1, "unnormalized", False, [11, 11, 11, 44]),
    ("bilinear", "reflection", -1, "normalized_zero_to_one", True, [22, 36.3, 11, 34.1]),
    ("nearest", "symmetric", -1, "normalized_zero_to_one", False, [22, 33, 11, 33]),
]


@pytest.mark.parametrize("case", EXPECTED, ids=lambda case: case[1])
@pytest.mark.parametrize("opset", versions("resample"))
def test_what_core_ml_answers_in_coremltools_own_test(opset, case):
    names = ("sampling_mode", "padding_mode", "padding_value", "coordinates_mode", "align_corners")
    given = dict(zip(names, case)) | {"padding_value": np.float32(case[2])}
    found = resampled(SMALL, PLACES, opset, **given)
    np.testing.assert_allclose(found.reshape(-1), case[-1], rtol=1e-5)


PYTORCH = [
    ("constant", "zeros", True),
    ("constant", "zeros", False),
    ("border", "border", True),
    ("border", "border", False),
    ("reflection", "reflection", True),
    ("symmetric", "reflection", False),
]


@pytest.mark.parametrize("sampling", ["bilinear", "nearest"])
@pytest.mark.parametrize(("ours", "theirs", "align"), PYTORCH)
def test_resample_is_grid_sample(ours, theirs, align, sampling):
    places = RNG.uniform(-2.5, 2.5, (2, 5, 7, 2)).astype(np.float32)
    expected = F.grid_sample(torch.from_numpy(X), torch.from_numpy(places), sampling, theirs, align)
    given = {"sampling_mode": sampling, "padding_mode": ours, "align_corners": align}
    np.testing.assert_allclose(resampled(X, places, **given), expected, rtol=1e-4, atol=2e-5)
    unit = (places + 1) / 2
    found = resampled(X, unit, coordinates_mode="normalized_zero_to_one", **given)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=2e-4)


@pytest.mark.parametrize("dtype", ["int32", "int8", "uint16", "float16"])
def test_pixels_are_named_by_integers(dtype):
    places = np.stack([RNG.integers(0, 6, (2, 3, 3)), RNG.integers(0, 4, (2, 3, 3))], -1).astype(dtype)
    found = resampled(X, places, coordinates_mode="unnormalized")
    for b, row, column in np.ndindex(2, 3, 3):
        x, y = places[b, row, column].astype(int)
        np.testing.assert_allclose(found[b, :, row, column], X[b, :, y, x], rtol=1e-6)


def mapped(x, matrix, height, width):
    given = {"output_height": height, "output_width": width, "sampling_mode": "bilinear", "padding_mode": "constant"}
    given |= {"padding_value": np.float32(0), "coordinates_mode": "normalized_minus_one_to_one", "align_corners": True}
    return run_op("affine", {"x": x, "transform_matrix": matrix}, **given)[0]


def test_what_core_ml_answers_for_affine_in_coremltools_own_test():
    matrix = np.array([[-1, -2, -3.7, -1, 3.5, 1.2]], np.float32)
    expected = [10.752501, 2.5025, 0, 1.9799997, 0, 0, 0, 0, 0]
    np.testing.assert_allclose(mapped(SMALL, matrix, 3, 3).reshape(-1), expected, rtol=1e-5, atol=1e-5)
    expected = [10.752501, 5.94, 2.5025, 0.44000006, 0, 0, 0, 0, 0, 0]
    np.testing.assert_allclose(mapped(SMALL, matrix, 2, 5).reshape(-1), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("count", [1, 2])
def test_affine_is_the_one_of_pytorch(count):
    matrix = RNG.uniform(-1, 1, (count, 6)).astype(np.float32)
    theta = torch.from_numpy(matrix).reshape(count, 2, 3).expand(2, 2, 3)
    grid = F.affine_grid(theta, [2, 3, 5, 3], align_corners=True)
    expected = F.grid_sample(torch.from_numpy(X), grid, align_corners=True)
    np.testing.assert_allclose(mapped(X, matrix, 5, 3), expected, rtol=1e-4, atol=2e-5)


COUNTED = np.arange(1, 17, dtype=np.float32).reshape(1, 1, 4, 4)
LINE = np.linspace(0, 1, 4)
CROPS = [
    ([1, 1, 2, 2], 2, False, [[6, 7], [10, 11]]),
    ([1, 1, 2, 2], 4, False, 6 + LINE[None] + 4 * LINE[:, None]),
    ([1, 1, 2, 2], 1, False, [[8.5]]),
    ([0, 0, 1 / 3, 1 / 3], 2, True, [[1, 2], [5, 6]]),
    ([2, 2, 1, 1], 2, False, [[11, 10], [7, 6]]),
]


@pytest.mark.parametrize("case", range(len(CROPS)))
@pytest.mark.parametrize("opset", versions("crop_resize"))
def test_what_core_ml_answers_for_boxes_in_coremltools_own_test(opset, case):
    box, size, normalized, expected = CROPS[case]
    given = {"target_height": size, "target_width": size, "normalized_coordinates": normalized}
    given |= {"box_coordinate_mode": "CORNERS_HEIGHT_FIRST", "sampling_mode": "ALIGN_CORNERS"}
    numbers = np.array(box, np.float32)
    feed = {"boxes": numbers[None]} if opset == "ios17" else {"roi": numbers.reshape(1, 1, 4, 1, 1)}
    (found,) = run_op("crop_resize", {"x": COUNTED} | feed, opset, **given)
    assert found.shape == ((1, 1, size, size) if opset == "ios17" else (1, 1, 1, size, size))
    np.testing.assert_allclose(found.reshape(size, size), expected, rtol=1e-6)


def test_boxes_that_leave_the_image_and_run_backwards():
    boxes = np.array([[0.1, 0.3, 1.3, 1.0], [0.5, 1.8, 1.0, 0.3], [0.0, 0.4, 0.6, 0.7]], np.float32)
    given = {"target_height": 2, "target_width": 2, "normalized_coordinates": True, "sampling_mode": "ALIGN_CORNERS"}
    given |= {"pad_value": np.float32(10), "box_indices": np.zeros(3, np.int32)}
    (found,) = run_op("crop_resize", {"x": COUNTED, "boxes": boxes}, **given)
    expected = [3.1, 5.2, 10, 10, 10, 7.9, 10, 13.9, 2.2, 3.1, 9.4, 10.3]
    np.testing.assert_allclose(found.reshape(-1), expected, rtol=1e-5)


def centred(boxes):
    first, last = boxes[:, :2], boxes[:, 2:]
    return np.concatenate([(first + last) / 2, last - first], -1)


FORMS = {
    "CORNERS_HEIGHT_FIRST": lambda boxes: boxes,
    "CORNERS_WIDTH_FIRST": lambda boxes: boxes[:, [1, 0, 3, 2]],
    "CENTER_SIZE_HEIGHT_FIRST": centred,
    "CENTER_SIZE_WIDTH_FIRST": lambda boxes: centred(boxes)[:, [1, 0, 3, 2]],
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("mode", ["STRICT_ALIGN_CORNERS", "DEFAULT", "OFFSET_CORNERS", "UNALIGN_CORNERS"])
def test_a_box_of_whole_pixels_is_that_part_of_the_image_resized(mode, form):
    boxes = np.array([[0, 1, 2, 4], [1, 2, 3, 5]], np.float32)
    images = np.array([1, 0], np.int32)
    given = {"target_height": 5, "target_width": 3, "sampling_mode": mode, "box_coordinate_mode": form}
    feed = {"x": X, "boxes": FORMS[form](boxes * 2), "box_indices": images}
    (found,) = run_op("crop_resize", feed, spatial_scale=0.5, **given)
    for crop, (top, left, bottom, right), image in zip(found, boxes.astype(int), images):
        part = X[image : image + 1, :, top : bottom + 1, left : right + 1]
        size = {"target_size_height": 5, "target_size_width": 3, "sampling_mode": mode}
        np.testing.assert_allclose(crop, run_op("resize_bilinear", {"x": part}, **size)[0][0], rtol=1e-4, atol=1e-5)


def test_every_box_from_every_image_or_from_the_one_it_names():
    boxes = np.array([[0, 1, 2, 4], [1, 2, 3, 5], [0, 0, 3, 5]], np.float32)
    given = {"target_height": 2, "target_width": 3, "sampling_mode": "ALIGN_CORNERS"}
    (every,) = run_op("crop_resize", {"x": X, "roi": boxes.reshape(3, 1, 4, 1, 1)}, "ios15", **given)
    assert every.shape == (3, 2, 3, 2, 3)
    np.testing.assert_allclose(every[2, 1, :, 0, 0], X[1, :, 0, 0], rtol=1e-6)
    (one,) = run_op("crop_resize", {"x": X, "boxes": boxes, "box_indices": np.ones(3, np.int32)}, **given)
    np.testing.assert_allclose(every[:, 1], one, rtol=1e-6)
    single = X[:1]
    named = np.concatenate([np.zeros((3, 1), np.float32), boxes], 1).reshape(3, 1, 5, 1, 1)
    (found,) = run_op("crop_resize", {"x": single, "roi": named}, "ios16", **given)
    np.testing.assert_allclose(found, every[:, :1], rtol=1e-6)
    with pytest.raises(EngineFailed, match="index 5 of an axis of 2"):
        run_op("crop_resize", {"x": X, "boxes": boxes, "box_indices": np.array([0, 1, 5], np.int32)}, **given)
