from __future__ import annotations

import numpy as np
import pytest

from edgesmith.artifact import Exported
from edgesmith.bench import feeds
from edgesmith.errors import EngineFailed, UsageError
from edgesmith.tensors import Preprocessing, TensorSpec

TWO = (TensorSpec("a", ("batch", 2)), TensorSpec("b", ("batch",), "int64"))
PICTURE = Preprocessing((2, 2), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def exported(*inputs: TensorSpec, preprocessing: Preprocessing | None = None) -> Exported:
    return Exported("t", "null", "fp32", "m", inputs, (TensorSpec("y", ("batch", 1)),), preprocessing=preprocessing)


def arrays(count: int) -> dict[str, np.ndarray]:
    return {"a": np.arange(2.0 * count, dtype=np.float32).reshape(count, 2), "b": np.arange(count)}


def run(feed):
    return {"y": feed["a"].sum(1, keepdims=True)}


def test_the_batch_is_as_asked_or_fixed_by_the_model():
    assert feeds.batch_of(exported(*TWO), 7) == 7
    assert feeds.batch_of(exported(TensorSpec("a", (3, 2))), 7) == 3


def test_tensors_go_by_name():
    feed = feeds.feed_of(exported(*TWO), arrays(4), "tensors", np.array([2, 0]))
    np.testing.assert_array_equal(feed["a"], [[4, 5], [0, 1]])
    np.testing.assert_array_equal(feed["b"], [2, 0])
    with pytest.raises(UsageError, match="stranger"):
        feeds.feed_of(exported(*TWO), {"a": arrays(1)["a"], "stranger": arrays(1)["b"]}, "tensors", np.array([0]))


def test_one_array_feeds_one_input_whatever_its_name():
    feed = feeds.feed_of(exported(TWO[0]), {"other": arrays(2)["a"]}, "tensors", np.array([1]))
    np.testing.assert_array_equal(feed["a"], [[2, 3]])


def test_floats_become_the_models_float_type_but_integers_stay():
    half = exported(TensorSpec("a", ("batch", 2), "float16"), TWO[1])
    feed = feeds.feed_of(half, arrays(2), "tensors", np.array([0]))
    assert (feed["a"].dtype, feed["b"].dtype) == (np.float16, np.int64)
    whole = feeds.feed_of(exported(TensorSpec("b", ("batch",))), {"b": arrays(2)["b"]}, "tensors", np.array([0]))
    assert whole["b"].dtype == np.int64


def test_whole_numbers_are_widened_and_never_narrowed():
    wide, narrow = (exported(TensorSpec("b", ("batch",), dtype)) for dtype in ("int32", "uint8"))
    taken = feeds.feed_of(wide, {"b": np.array([3, 255], np.uint8)}, "tensors", np.array([1]))["b"]
    assert taken.dtype == np.int32 and taken.tolist() == [255]
    kept = feeds.feed_of(narrow, {"b": np.array([3, 300], np.int32)}, "tensors", np.array([1]))["b"]
    assert kept.dtype == np.int32  # the session refuses it


def test_images_go_through_the_models_preprocessing():
    images = {"image": np.full((3, 2, 2, 3), 255, np.uint8)}
    spec = TensorSpec("x", ("batch", 3, 2, 2))
    feed = feeds.feed_of(exported(spec, preprocessing=PICTURE), images, "images", np.array([0, 1]))
    np.testing.assert_allclose(feed["x"], np.ones((2, 3, 2, 2)), rtol=1e-6)
    with pytest.raises(UsageError, match="preprocessing is not known"):
        feeds.feed_of(exported(spec), images, "images", np.array([0]))
    with pytest.raises(UsageError, match="one input"):
        feeds.feed_of(exported(*TWO, preprocessing=PICTURE), images, "images", np.array([0]))


def test_latency_feeds_rotate_over_real_rows():
    made = feeds.latency_feeds(exported(TWO[0]), {"a": arrays(3)["a"]}, "tensors", 2)
    assert [feed["a"][:, 0].tolist() for feed in made] == [[0, 2], [4, 0], [2, 4]]
    many = feeds.latency_feeds(exported(TWO[0]), {"a": arrays(100)["a"]}, "tensors", 1)
    assert len(many) == feeds.MOST_FEEDS


@pytest.mark.parametrize("spec", [TensorSpec("a", ("batch", 2)), TensorSpec("a", (4, 2)), TensorSpec("a", (1, 2))])
def test_all_rows_come_out_once_and_in_order(spec):
    sizes = []

    def seen(feed):
        sizes.append(len(feed["a"]))
        return run(feed)

    answer = feeds.run_all(seen, exported(spec), {"a": arrays(6)["a"]}, "tensors", 4)
    np.testing.assert_array_equal(answer["y"], arrays(6)["a"].sum(1, keepdims=True))
    assert sizes == {"batch": [4, 4, 2], 4: [4, 4, 4], 1: [1] * 7}[spec.shape[0]]  # the first ones twice


def test_an_output_without_a_batch_axis_is_named():
    with pytest.raises(EngineFailed, match="'y'"):
        feeds.run_all(lambda feed: {"y": np.ones((9, 1))}, exported(TWO[0]), {"a": arrays(2)["a"]}, "tensors", 2)


def test_a_model_that_answers_at_random_is_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(EngineFailed, match="another one the second time"):
        feeds.run_all(
            lambda feed: {"y": rng.normal(size=(2, 1))}, exported(TWO[0]), {"a": arrays(2)["a"]}, "tensors", 2
        )
