from dataclasses import replace

import numpy as np
import pytest
import torch

from edgesmith.compress.batches import batches_of, normalised
from edgesmith.data.split import Split
from edgesmith.errors import UsageError
from edgesmith.tensors import Preprocessing

IMAGES = np.random.default_rng(0).integers(0, 256, (9, 16, 12, 3)).astype(np.uint8)
CPU = torch.device("cpu")


def preprocessing(color="rgb") -> Preprocessing:
    n = 1 if color == "gray" else 3
    return Preprocessing((16, 12), (0.485, 0.456, 0.406)[:n], (0.229, 0.224, 0.225)[:n], color)


def batches(size=4, augment="none", seed=0, channels_last=False, count=9):
    split = Split({"image": IMAGES[:count]}, np.arange(count))
    return batches_of(split, preprocessing(), size, seed, augment, channels_last)


@pytest.mark.parametrize("color", ["rgb", "bgr", "gray"])
def test_normalising_equals_preprocessing(color) -> None:
    expected = preprocessing(color).apply(IMAGES)
    ours = normalised(torch.from_numpy(IMAGES), preprocessing(color)).numpy()
    assert ours.dtype == np.float32 and ours.shape == expected.shape
    if color == "gray":  # the luma sum may be taken in another order
        np.testing.assert_allclose(ours, expected, atol=3e-6)
    else:
        np.testing.assert_array_equal(ours, expected)


def test_an_epoch_sees_every_sample_once_with_its_label() -> None:
    seen = list(batches(5).epoch(0, CPU))
    labels = torch.cat([batch.labels for batch in seen])
    images = torch.cat([batch.inputs[0] for batch in seen])
    assert sorted(labels.tolist()) == list(range(9))
    assert torch.equal(images, torch.from_numpy(preprocessing().apply(IMAGES))[labels])


def test_a_last_batch_of_one_is_left_out() -> None:
    assert [len(batch) for batch in batches(4).epoch(0, CPU)] == [4, 4]
    assert batches(4).steps() == 2 and batches(5).steps() == 2 and batches(100).steps() == 1


def test_seed_and_epoch_fix_the_order() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return torch.cat([b.labels for b in batches(9, "shift", seed).epoch(epoch, CPU)]).tolist()

    assert order(0, 1) == order(0, 1) and order(0, 1) != order(0, 2) and order(0, 1) != order(1, 1)


def test_memory_layout_is_what_was_asked() -> None:
    for channels_last in (False, True):
        image = next(batches(4, channels_last=channels_last).epoch(0, CPU)).inputs[0]
        assert image.is_contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)


def test_other_inputs_pass_untouched_and_in_order() -> None:
    split = Split({"a": np.arange(4, dtype=np.float32), "b": np.arange(4, dtype=np.int64)})
    batch = next(batches_of(split, None, 4, 0, "none", False).epoch(0, CPU))
    assert torch.equal(batch.inputs[0], batch.inputs[1].float()) and batch.labels is None


@pytest.mark.parametrize("augment", ["none", "flip"])
def test_rows_and_mirrors_say_which_picture_a_sample_is(augment) -> None:
    made = batches(9, augment)
    batch = next(made.epoch(0, CPU))
    again = [made.read(batch.rows, mirrored, CPU).inputs[0] for mirrored in (False, True)]
    for index, flipped in enumerate(batch.mirrored.tolist()):
        assert torch.equal(batch.inputs[0][index], again[flipped][index])
    assert torch.equal(batch.rows, batch.labels) and batch.mirrored.any() == (augment == "flip")


def test_rows_of_labels_stay_small_and_come_as_integers() -> None:
    labels = np.array([[1, 0, -1]] * 9)
    made = batches_of(Split({"image": IMAGES}, labels), preprocessing(), 4, 0, "none", False)
    batch = next(made.epoch(0, CPU))
    assert made.labels.dtype == torch.int8 and batch.labels.dtype == torch.int64
    assert batch.labels.tolist() == [[1, 0, -1]] * 4
    with pytest.raises(UsageError, match="values"):
        batches_of(Split({"image": IMAGES}, labels * 2), preprocessing(), 4, 0, "none", False)


def test_an_augmented_epoch_is_fixed_by_seed_and_epoch() -> None:
    def pixels(epoch: int) -> torch.Tensor:
        torch.rand(3)  # whatever else draws from torch's own generator changes nothing
        return next(batches(9, "flip+shift+randaugment+cutout").epoch(epoch, CPU)).inputs[0]

    assert torch.equal(pixels(1), pixels(1)) and not torch.equal(pixels(1), pixels(2))


@pytest.mark.parametrize("case", ["augment", "empty", "floats"])
def test_misfits_are_usage_errors(case) -> None:
    floats = Split({"image": np.zeros((0 if case == "empty" else 3, 3, 4, 4), np.float32)})
    given = None if case != "floats" else preprocessing()
    with pytest.raises(UsageError):
        batches_of(floats, given, 2, 0, "flip" if case == "augment" else "none", False)


def test_an_augmentation_of_another_name_is_refused() -> None:
    with pytest.raises(UsageError, match="choose one of: none, flip"):
        batches(4, "cutout+flip")


@pytest.mark.parametrize(("count", "steps", "left_out"), [(16, 2, 0), (21, 3, 1), (19, 2, 3), (22, 3, 0)])
def test_ranks_share_every_batch_of_one_process(count, steps, left_out) -> None:
    whole = batches_of(Split({"x": np.arange(count, dtype=np.float32)}), None, 8, 3, "none", False)
    parts = [replace(whole, rank=rank, world=2) for rank in range(2)]
    rows = [[batch.rows.tolist() for batch in part.epoch(1, torch.device("cpu"))] for part in parts]
    assert [part.steps() for part in parts] == [steps] * 2 == [len(found) for found in rows]
    assert all(len(a) == len(b) for a, b in zip(*rows))
    seen = [row for found in rows for batch in found for row in batch]
    assert len(seen) == len(set(seen)) == count - left_out
    for one, a, b in zip(whole.epoch(1, torch.device("cpu")), *rows):
        assert one.rows.tolist()[: len(a) + len(b)] == a + b


def test_ranks_see_other_augmentations_of_the_same_order() -> None:
    split = Split({"image": np.random.default_rng(0).integers(0, 255, (64, 8, 8, 3)).astype(np.uint8)})
    whole = batches_of(split, Preprocessing((8, 8), (0.5,) * 3, (0.5,) * 3), 64, 3, "flip", False)
    found = [next(replace(whole, rank=rank, world=2).epoch(0, torch.device("cpu"))) for rank in range(2)]
    assert found[0].mirrored.tolist() != found[1].mirrored.tolist()
