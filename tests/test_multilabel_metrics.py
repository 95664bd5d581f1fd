import math

import numpy as np
import pytest
from sklearn.metrics import (
    average_precision_score,
    f1_score,
    label_ranking_average_precision_score,
    precision_score,
    recall_score,
)

from edgesmith import multilabel_metrics as metrics
from edgesmith.errors import UsageError
from edgesmith.multilabel_metrics import Ranking, above, at_k, importance, mean_ap, rates, top_k


def made(samples: int = 120, classes: int = 9, seed: int = 0, digits: int | None = None):
    rng = np.random.default_rng(seed)
    labels = (rng.random((samples, classes)) < rng.uniform(0.05, 0.6, classes)).astype(np.int64)
    labels[0], labels[1] = 1, 0
    scores = labels + rng.standard_normal(labels.shape)
    return (scores if digits is None else np.round(scores, digits)), labels


@pytest.mark.parametrize("digits", [None, 1, 0])  # without ties, with some, with many
def test_ap_is_scikit_learns(digits):
    scores, labels = made(digits=digits)
    found = mean_ap(scores, labels)
    theirs = [average_precision_score(labels[:, c], scores[:, c]) for c in range(labels.shape[1])]
    np.testing.assert_allclose(found.per_class, theirs, rtol=1e-12)
    assert found.macro == pytest.approx(average_precision_score(labels, scores, average="macro"))
    positives = labels.sum(0)
    assert found.weighted == pytest.approx((theirs * positives).sum() / positives.sum())
    assert found.skipped == 0


def test_weighted_ap_is_scikit_learns_with_sample_weights():
    scores, labels = made(digits=1)
    weights = np.random.default_rng(1).multinomial(120, [1 / 120] * 120)
    theirs = [average_precision_score(labels[:, c], scores[:, c], sample_weight=weights) for c in range(9)]
    np.testing.assert_allclose(Ranking.of(scores, labels).average_precision(weights), theirs, rtol=1e-12)


def test_ap_by_hand_and_in_any_order():
    labels = np.array([1, 0, 1, 0])[:, None]
    scores = np.array([0.9, 0.8, 0.7, 0.1])[:, None]
    assert mean_ap(scores, labels).macro == pytest.approx((1 + 2 / 3) / 2)
    tied = np.array([0.5, 0.5, 0.5, 0.1])[:, None]
    orders = [np.random.default_rng(seed).permutation(4) for seed in range(6)]
    assert {mean_ap(tied[order], labels[order]).macro for order in orders} == {2 / 3}


def test_labels_that_are_not_annotated_are_in_no_count():
    scores, labels = made()
    hidden = np.random.default_rng(2).random(labels.shape) < 0.4
    partial = np.where(hidden, -1, labels)
    found = mean_ap(scores, partial)
    for column in range(labels.shape[1]):
        rows = ~hidden[:, column]
        assert found.per_class[column] == pytest.approx(
            average_precision_score(labels[rows, column], scores[rows, column])
        )
    wild = np.where(hidden, 1e9, scores)  # whatever the model says where nobody looked
    assert mean_ap(wild, partial).macro == found.macro
    assert rates(above(wild, 0.5), partial) == rates(above(scores, 0.5), partial)
    assert at_k(wild, partial, 3) == at_k(scores, partial, 3)


def test_classes_without_positives_or_negatives_are_skipped_and_counted():
    scores, labels = made(classes=4)
    labels[:, 1], labels[:, 2] = 0, 1
    found = mean_ap(scores, labels)
    assert found.skipped == 2 and np.isnan(found.per_class[[1, 2]]).all()
    assert found.macro == pytest.approx(found.per_class[[0, 3]].mean())
    nobody = mean_ap(scores, np.full_like(labels, -1))
    assert nobody.skipped == 4 and math.isnan(nobody.macro) and math.isnan(nobody.weighted)
    assert math.isnan(mean_ap(np.zeros((0, 2)), np.zeros((0, 2), int)).macro)


def test_scores_that_are_not_finite_rank_last():
    labels = np.array([1, 0, 0, 0])[:, None]
    assert mean_ap(np.array([np.nan, 3.0, 2.0, 1.0])[:, None], labels).macro == pytest.approx(0.25)
    assert not above(np.array([[np.nan]]), 0.5).any()


def test_precision_recall_and_f1_are_scikit_learns():
    scores, labels = made()
    said = above(scores, 0.5)
    found = rates(said, labels)
    assert found.cp == pytest.approx(precision_score(labels, said, average="macro", zero_division=0))
    assert found.cr == pytest.approx(recall_score(labels, said, average="macro"))
    assert found.cf1 == pytest.approx(2 * found.cp * found.cr / (found.cp + found.cr))
    assert found.op == pytest.approx(precision_score(labels, said, average="micro"))
    assert found.orr == pytest.approx(recall_score(labels, said, average="micro"))
    assert found.of1 == pytest.approx(f1_score(labels, said, average="micro"))


@pytest.mark.needs("torchmetrics", "timm")
def test_map_and_micro_f1_are_torchmetrics():
    import torch

    from edgesmith.models.timm import import_timm

    import_timm()  # makes a torchvision without operators harmless
    from torchmetrics.functional.classification import multilabel_average_precision, multilabel_f1_score

    scores, labels = made()
    given = torch.from_numpy(1 / (1 + np.exp(-scores))), torch.from_numpy(labels)
    theirs = multilabel_average_precision(*given, num_labels=9)
    assert mean_ap(scores, labels).macro == pytest.approx(float(theirs), abs=1e-6)
    micro = multilabel_f1_score(*given, num_labels=9, threshold=0.5, average="micro")
    assert rates(above(scores, 0.0), labels).of1 == pytest.approx(float(micro), abs=1e-6)


def test_no_answer_and_no_positive_give_no_exception():
    labels = np.array([[1, 0], [0, 0]])
    silent = rates(np.zeros((2, 2), bool), labels)
    assert (silent.cp, silent.op, silent.of1) == (0.0, 0.0, 0.0)
    assert rates(labels == 1, labels).cr == 1.0  # the class without a positive label is in no mean
    assert math.isnan(rates(labels == 1, np.zeros((2, 2), int)).of1)


def test_top_k_counts_by_hand():
    scores = np.array([[3.0, 2.0, 1.0, 0.0], [0.0, 1.0, 1.0, 1.0]])
    labels = np.array([[1, 0, 1, 0], [0, 1, 0, 1]])
    assert top_k(scores, labels, 2).tolist() == [[True, True, False, False], [False, True, True, False]]
    found = at_k(scores, labels, 2)
    assert (found.precision, found.recall, found.f1) == (0.5, 0.5, 0.5)
    assert at_k(scores, labels, 9).recall == 1.0
    assert top_k(scores, labels, 3, threshold=1.5).sum() == 2
    with pytest.raises(UsageError, match="k = 0"):
        top_k(scores, labels, 0)


def test_top_one_of_single_labels_is_top1():
    rng = np.random.default_rng(3)
    scores, classes = rng.standard_normal((50, 6)), rng.integers(0, 6, 50)
    labels = np.eye(6, dtype=int)[classes]
    found = at_k(scores, labels, 1)
    assert found.precision == found.recall == (scores.argmax(1) == classes).mean()


def test_importance_of_photos():
    truth = [np.array([0.9, 0.1, 0.5, 0.3]), np.array([1.0, 0.0])]
    assert importance(truth, truth, 0.3).mean_ap == 1.0
    found = importance(truth, [-truth[0], truth[1]], 0.3)  # two photos of four, one of two
    ranks = np.array([[1, 0, 1, 0]]), np.array([[-0.9, -0.1, -0.5, -0.3]])
    assert found.mean_ap == pytest.approx((label_ranking_average_precision_score(*ranks) + 1) / 2)
    assert (found.precision, found.albums) == (0.5, 2)
    tied = importance([np.array([1.0, 1.0, 0.0])], [np.array([0.0, 2.0, 1.0])], 0.05)
    assert tied.precision == 0.5  # both photos of the highest score are important
    assert math.isnan(importance([], [], 0.1).mean_ap)
    with pytest.raises(UsageError, match="share 0"):
        importance(truth, truth, 0)


def test_wrong_labels_and_shapes_are_refused():
    with pytest.raises(UsageError, match=r"values \[2\]"):
        mean_ap(np.zeros((1, 2)), np.array([[0, 2]]))
    with pytest.raises(UsageError, match=r"scores \(1, 3\)"):
        mean_ap(np.zeros((1, 3)), np.zeros((1, 2), int))
    with pytest.raises(UsageError, match="column a class"):
        metrics.check_labels(np.zeros(3))
