import numpy as np
import pytest

from edgesmith.errors import UsageError
from edgesmith.zero_shot import Vocabulary, gzsl, zsl

LABELS = np.array([[1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1], [1, 0, 0, 1]])
WORDS = Vocabulary(seen=(0, 1), unseen=(2, 3))


def test_unseen_labels_are_ranked_alone_on_images_that_have_one() -> None:
    scores = np.array([[9.0, 9, 2, 1], [9, 9, 1, 2], [9, 9, 1, 2], [9, 9, 2, 1]])
    found = zsl(scores, LABELS, WORDS, 1)
    assert found.images == 3  # the second image has seen labels only
    assert (found.at.precision, found.at.recall) == (pytest.approx(2 / 3), pytest.approx(2 / 3))
    # Label 2: one positive among two of the highest score; label 3: its positives rank first and last.
    assert found.mean_ap == pytest.approx((1 / 2 + (1 + 2 / 3) / 2) / 2)
    assert found.chance_ap == pytest.approx((1 / 3 + 2 / 3) / 2)


def test_all_labels_are_ranked_together() -> None:
    found = gzsl(LABELS.astype(float), LABELS, WORDS, 2)
    assert found.images == 4 and found.mean_ap == 1 and found.at.recall == 1
    assert found.at.precision == pytest.approx(6 / 8)
    assert 0 <= found.chance_f1 < found.at.f1


def test_scores_of_other_labels_have_no_part() -> None:
    scores = np.random.default_rng(0).random((4, 4))
    other = scores.copy()
    other[:, :2] = 0
    assert zsl(scores, LABELS, WORDS, 1) == zsl(other, LABELS, WORDS, 1)


def test_unknown_labels_count_nowhere() -> None:
    labels = LABELS.copy()
    labels[0, 3] = -1
    scores = np.array([[0, 0, 1, 5], [0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 1.0]])
    assert zsl(scores, labels, WORDS, 1).at.precision == 1


@pytest.mark.parametrize("columns", [((0, 1), (1, 2)), ((0,), ()), ((-1,), (2,))])
def test_wrong_vocabularies(columns) -> None:
    with pytest.raises(UsageError, match="seen and unseen"):
        Vocabulary(*columns)


def test_labels_that_do_not_fit_are_named() -> None:
    with pytest.raises(UsageError, match="column 7"):
        zsl(np.zeros((4, 4)), LABELS, Vocabulary((0,), (7,)), 1)
    with pytest.raises(UsageError, match="no image"):
        zsl(np.zeros((1, 4)), LABELS[1:2], WORDS, 1)
