import numpy as np
import pytest

from edgesmith.data.scenes import CLASSES, _parts, load
from edgesmith.errors import UsageError
from edgesmith.tensors import Preprocessing


def test_scenes_are_labelled_and_seeded() -> None:
    data = load(samples=300, calibration=50, evaluation=100)
    assert data.train.inputs["image"].shape == (300, 32, 32, 3) and len(data.classes) == len(CLASSES) == 16
    assert (len(data.calibration), len(data.evaluation.split)) == (50, 100)
    labels = data.train.labels
    assert set(np.unique(labels)) == {0, 1} and (labels.sum(0) > 5).all()
    assert labels[:, 0].mean() > 2 * labels[:, 9].mean()
    assert data.digest == load(samples=300, calibration=50, evaluation=100).digest
    assert data.digest != load(samples=300, calibration=50, evaluation=100, seed=1).digest


def test_labels_say_what_is_in_the_picture() -> None:
    data = load(samples=200)
    images, labels = data.train.inputs["image"].astype(int), data.train.labels
    place = CLASSES.index
    red = (images[..., 0] > 150) & (images[..., 1] < 120) & (images[..., 2] < 120)
    assert np.array_equal(red.reshape(200, -1).sum(1) > 2, labels[:, place("red")] == 1)
    digits = labels[:, :10].sum(1)
    full = (labels[:, place("empty cell")] == 0) & (labels[:, place("two of a kind")] == 0)
    assert full.any() and (digits[full] == 4).all() and (digits <= 4).all()
    assert (digits[labels[:, place("two of a kind")] == 1] < 4).all()


def test_no_handwriting_is_in_two_parts() -> None:
    parts = _parts((32, 32), 0)
    keys = [{digit.tobytes() for digit in part.ink} for part in parts]
    assert sum(map(len, keys)) == len(set.union(*keys)) > 1700
    assert all(len(np.unique(part.kinds)) == 10 for part in parts)


def test_partial_labels_are_of_the_training_part_alone() -> None:
    data = load(samples=100, calibration=5, evaluation=20, partial="rps:0.5")
    assert (data.train.labels == -1).mean() > 0.4 and (data.evaluation.arrays["labels"] >= 0).all()


def test_sizes_and_refusals() -> None:
    wide = load(Preprocessing((24, 48), (0.0,) * 3, (1.0,) * 3), samples=2, calibration=1, evaluation=1)
    assert wide.train.inputs["image"].shape == (2, 24, 48, 3)
    for wrong in ({"samples": 0}, {"imbalance": 0.5}, {"preprocessing": Preprocessing((8, 8), (0.0,) * 3, (1.0,) * 3)}):
        with pytest.raises(UsageError, match="compose scenes"):
            load(**wrong)
