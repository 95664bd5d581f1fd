import numpy as np
import pytest

from tests.runtimes.mil.programs import run_op
from tests.runtimes.mil.versions import versions

X = np.random.default_rng(2).permutation(60).reshape(3, 4, 5)
DTYPES = ["float32", "int32"]


@pytest.mark.parametrize("ascending", [False, True])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_argsort(axis, ascending):
    for dtype in DTYPES:
        x = X.astype(dtype)
        expected = np.argsort(x if ascending else -x, axis)
        (found,) = run_op("argsort", {"x": x}, axis=axis, ascending=ascending)
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == np.int32


@pytest.mark.parametrize("ascending", [False, True])
@pytest.mark.parametrize(("k", "axis"), [(1, -1), (2, 0), (3, 1), (5, 2)])
@pytest.mark.parametrize("opset", versions("topk"))
def test_topk(opset, k, axis, ascending):
    for dtype in DTYPES:
        x = X.astype(dtype)
        places = np.take(np.argsort(x if ascending else -x, axis), range(k), axis)
        values, found = run_op("topk", {"x": x}, opset, k=k, axis=axis, ascending=ascending)
        np.testing.assert_array_equal(found, places)
        np.testing.assert_array_equal(values, np.take_along_axis(x, places, axis))
        assert values.dtype == dtype


def test_topk_of_equal_values_takes_the_first():
    _, places = run_op("topk", {"x": np.array([1, 3, 3, 1], np.float32)}, k=3)
    np.testing.assert_array_equal(places, [1, 2, 0])


@pytest.mark.parametrize("opset", ["ios16", "ios17"])
def test_topk_without_order_or_positions(opset):
    x = X.astype(np.float32)
    (values,) = run_op("topk", {"x": x}, opset, k=2, sort=False, return_indices=False)
    np.testing.assert_array_equal(np.sort(values, -1), np.sort(x, -1)[..., -2:])


def test_topk_of_small_types_with_small_positions():
    for dtype in ("int8", "uint8", "int16", "uint16"):
        x = X.astype(dtype)
        values, places = run_op("topk", {"x": x}, k=np.int8(2), output_indices_dtype="uint16")
        np.testing.assert_array_equal(values, -np.sort(-X, -1)[..., :2])
        np.testing.assert_array_equal(places, np.argsort(-X, -1)[..., :2])


def suppressed(boxes, scores, iou, least, most, per_class):
    """One image, by the description: boxes (B, 4), scores (B, K)."""
    best, label = scores.max(-1), scores.argmax(-1)
    left = [i for i in np.argsort(-best, kind="stable") if best[i] >= least]
    kept = []
    while left and len(kept) < most:
        first = left.pop(0)
        kept.append(first)
        left = [i for i in left if (per_class and label[i] != label[first]) or overlap(boxes[first], boxes[i]) <= iou]
    kept = (kept or [int(best.argmax())])[:most]
    rest = most - len(kept)
    return (
        np.concatenate([boxes[kept], np.zeros((rest, 4))]),
        np.concatenate([scores[kept], np.zeros((rest, scores.shape[1]))]),
        np.array(kept + [-1] * rest),
        len(kept),
    )


def overlap(a, b):
    sides = [
        min(a[i] + a[i + 2] / 2, b[i] + b[i + 2] / 2) - max(a[i] - a[i + 2] / 2, b[i] - b[i + 2] / 2) for i in (0, 1)
    ]
    shared = max(0, sides[0]) * max(0, sides[1])
    return shared / (a[2] * a[3] + b[2] * b[3] - shared)


def some_boxes(seed, count=20, classes=3):
    rng = np.random.default_rng(seed)
    centres, sizes = rng.uniform(0, 10, (2, count, 2)), rng.uniform(2, 6, (2, count, 2))
    boxes = np.concatenate([centres, sizes], -1).astype(np.float32)
    return boxes, rng.uniform(0, 1, (2, count, classes)).astype(np.float32)


@pytest.mark.parametrize("per_class", [False, True])
@pytest.mark.parametrize(("iou", "least", "most"), [(0.2, 0.4, 4), (0.5, 0.0, 30), (0.3, 2.0, 3), (0.9, 0.7, 50)])
def test_boxes_that_overlap_are_suppressed(iou, least, most, per_class):
    boxes, scores = some_boxes(most)
    found = run_op(
        "non_maximum_suppression",
        {"boxes": boxes, "scores": scores},
        "ios15",
        iou_threshold=np.float32(iou),
        score_threshold=np.float32(least),
        max_boxes=most,
        per_class_suppression=per_class,
    )
    images = [suppressed(b, s, iou, least, most, per_class) for b, s in zip(boxes, scores)]
    for part, expected in zip(found, zip(*images), strict=True):
        np.testing.assert_allclose(part, np.stack([np.asarray(one) for one in expected]), rtol=1e-6)


@pytest.mark.parametrize("per_class", [False, True])
def test_boxes_have_another_order_since_ios17(per_class):
    boxes, scores = some_boxes(1)
    found = run_op(
        "non_maximum_suppression",
        {"boxes": boxes.swapaxes(1, 2), "scores": scores.swapaxes(1, 2)},
        "ios17",
        iou_threshold=np.float32(0.2),
        max_boxes=6,
        per_class_suppression=per_class,
    )
    images = [suppressed(b, s, 0.2, -np.inf, 6, per_class) for b, s in zip(boxes, scores)]
    picked, values, places, _ = (np.stack([np.asarray(one) for one in part]) for part in zip(*images))
    for part, expected in zip(found, (picked.swapaxes(1, 2), values.swapaxes(1, 2), places), strict=True):
        np.testing.assert_allclose(part, expected, rtol=1e-6)


def test_what_core_ml_answers_in_coremltools_own_test():
    boxes = np.repeat(np.arange(4, dtype=np.float32), 4).reshape(1, 4, 4)
    scores = np.array([[[-3.5], [9.4], [2.3], [0.7]]], np.float32)
    found = run_op(
        "non_maximum_suppression",
        {"boxes": boxes, "scores": scores},
        "ios15",
        iou_threshold=np.float32(0.2),
        score_threshold=np.float32(0.4),
        max_boxes=2,
        per_class_suppression=True,
    )
    for part, expected in zip(found, (boxes[:, 1:3], scores[:, 1:3], [[1, 2]], [2]), strict=True):
        np.testing.assert_array_equal(part, expected)
