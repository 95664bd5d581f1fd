import numpy as np
import pytest

from edgesmith.data.split import Split, digest, holdout_rows, labelled_data, sample_rows, unlabelled_data
from edgesmith.errors import UsageError

LABELS = np.array([0] * 20 + [1] * 10)


def split() -> Split:
    return Split({"x": np.arange(30, dtype=np.float32)}, LABELS, tuple(f"s{i}" for i in range(30)))


def test_a_share_of_every_class_is_held_out() -> None:
    kept, held = holdout_rows(LABELS, 0.2, seed=1)
    assert np.bincount(LABELS[held]).tolist() == [4, 2]
    assert sorted([*kept, *held]) == list(range(30))


def test_the_seed_fixes_the_cut() -> None:
    first, second, third = (holdout_rows(LABELS, 0.2, seed)[1] for seed in (1, 1, 2))
    assert np.array_equal(first, second) and not np.array_equal(first, third)


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_outside_0_to_1_is_refused(share) -> None:
    with pytest.raises(UsageError):
        holdout_rows(LABELS, share, 0)


def test_calibration_is_a_part_of_train_and_evaluation_is_not() -> None:
    data = labelled_data("d", split(), None, ("a", "b"), 0.2, 5, 0)
    train, held = set(data.train.names), set(data.evaluation.split.names)
    assert set(data.calibration.names) < train and not train & held and len(data.calibration) == 5
    assert np.array_equal(data.evaluation.arrays["labels"], data.evaluation.split.labels)


def test_holdout_1_leaves_nothing_to_train_on() -> None:
    data = labelled_data("d", split(), None, ("a", "b"), 1.0, 5, 0)
    assert data.train is None and len(data.evaluation.split) == 30 and len(data.calibration) == 5


def test_without_labels_agreement_is_asked() -> None:
    data = unlabelled_data("d", Split({"x": np.zeros((4, 2))}), None, 3, 0)
    assert data.evaluation.protocol == "agreement" and data.train is None and len(data.calibration) == 3


def test_the_digest_sees_every_change() -> None:
    x = np.zeros((2, 3), np.float32)
    seen = {digest(Split({"x": x})), digest(Split({"y": x})), digest(Split({"x": x.reshape(3, 2)}))}
    seen |= {
        digest(Split({"x": x}, np.zeros(2))),
        digest(Split({"x": x.astype(np.int32)})),
        digest(Split({"x": x}), None),
    }
    assert len(seen) == 6 and digest(Split({"x": x})) == digest(Split({"x": x.copy()}))


def test_a_sample_has_no_row_twice() -> None:
    rows = sample_rows(10, 6, 0)
    assert len(set(rows)) == 6 and sorted(rows) == rows.tolist()
    with pytest.raises(UsageError):
        sample_rows(10, 0, 0)
