import numpy as np

from edgesmith.data.digits import load
from edgesmith.tensors import Preprocessing

SMALL = Preprocessing((12, 10), (0.5,) * 3, (0.5,) * 3)


def test_all_digits_are_there_once() -> None:
    data = load(SMALL)
    names = {*data.train.names, *data.evaluation.split.names}
    assert len(data.train) + len(data.evaluation.split) == len(names) == 1797
    assert data.train.inputs["image"].shape[1:] == (12, 10, 3) and data.train.inputs["image"].dtype == np.uint8
    assert set(data.calibration.names) < set(data.train.names)


def test_every_class_is_evaluated_alike() -> None:
    counts = np.bincount(load(SMALL).evaluation.arrays["labels"])
    assert counts.min() >= 35 and counts.max() <= 37


def test_loading_is_repeatable_and_the_seed_matters() -> None:
    assert load(SMALL).digest == load(SMALL).digest != load(SMALL, seed=1).digest


def test_without_a_preprocessing_the_size_is_64() -> None:
    data = load()
    assert data.preprocessing.size == (64, 64) and data.classes == tuple("0123456789")
