import numpy as np
import pytest

from edgesmith.errors import UsageError
from edgesmith.tensors import Preprocessing, TensorSpec, batches, check_feed, random_feed

SPECS = (TensorSpec("image", ("batch", 3, 2, 2)), TensorSpec("ids", (1, 4), "int64"))


def test_dynamic_axes():
    assert [spec.dynamic for spec in SPECS] == [True, False]
    assert SPECS[0].concrete(5) == (5, 3, 2, 2)
    assert SPECS[1].concrete(5) == (1, 4)


def test_random_feed_is_seeded_and_fits_its_own_specs():
    first, again, other = random_feed(SPECS, 1, 2), random_feed(SPECS, 1, 2), random_feed(SPECS, 2, 2)
    check_feed(SPECS, first)
    np.testing.assert_array_equal(first["image"], again["image"])
    assert not np.array_equal(first["image"], other["image"])
    assert first["ids"].min() >= 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": None}, "feed every input by its name"),
        ({"extra": np.zeros(1)}, "feed every input by its name"),
        ({"image": np.zeros((2, 3, 2, 3), np.float32)}, "input 'image'"),
        ({"image": np.zeros((3, 2, 2), np.float32)}, "input 'image'"),
        ({"ids": np.zeros((1, 4), np.int32)}, "input 'ids' int64"),
    ],
)
def test_check_feed_names_what_is_wrong(change: dict[str, np.ndarray | None], message: str):
    feed = {name: array for name, array in (random_feed(SPECS) | change).items() if array is not None}
    with pytest.raises(UsageError, match=message):
        check_feed(SPECS, feed)


def test_preprocessing_by_hand():
    image = np.array([[[[255, 0, 51]]]], np.uint8)
    rgb = Preprocessing((1, 1), (0.5, 0.5, 0.0), (0.5, 0.25, 0.1)).apply(image)
    assert rgb.shape == (1, 3, 1, 1) and rgb.dtype == np.float32 and rgb.flags.c_contiguous
    np.testing.assert_allclose(rgb.ravel(), [1.0, -2.0, 2.0], rtol=1e-6)
    bgr = Preprocessing((1, 1), (0.0,) * 3, (1.0,) * 3, "bgr").apply(image)
    np.testing.assert_allclose(bgr.ravel(), [0.2, 0.0, 1.0], rtol=1e-6)
    gray = Preprocessing((1, 1), (0.0,), (1.0,), "gray")
    np.testing.assert_allclose(gray.apply(image).ravel(), [0.299 + 0.114 * 0.2], rtol=1e-6)
    assert gray.channels == 1


@pytest.mark.parametrize(
    "images", [np.zeros((1, 2, 2, 3)), np.zeros((1, 3, 3, 3), np.uint8), np.zeros((2, 2, 3), np.uint8)]
)
def test_preprocessing_refuses_other_pictures(images: np.ndarray):
    with pytest.raises(UsageError, match="resize them first"):
        Preprocessing((2, 2), (0.0,) * 3, (1.0,) * 3).apply(images)


def test_batches_keep_every_row():
    feed = {"x": np.arange(5), "y": np.arange(10).reshape(5, 2)}
    pieces = batches(feed, 2)
    assert [len(piece["x"]) for piece in pieces] == [2, 2, 1]
    np.testing.assert_array_equal(np.concatenate([piece["y"] for piece in pieces]), feed["y"])
