import math
import pickle

import numpy as np
import pytest

from edgesmith import metrics
from edgesmith.errors import UsageError
from edgesmith.metrics import Impostors, impostors_of


def impostors(*scores: float) -> Impostors:
    ends = np.arange(len(scores))
    return impostors_of(np.array(scores, float), ends, ends + 1)


def test_top1_counts_a_row_with_nan_as_wrong():
    logits = np.array([[0.1, 0.9], [0.8, 0.2], [np.nan, 1.0], [0.3, 0.2]])
    assert metrics.correct(logits, np.array([1, 0, 1, 1])).tolist() == [True, True, False, False]
    assert metrics.top1(logits, np.array([1, 0, 1, 1])) == 0.5


def test_top1_of_nothing_is_nan_and_wrong_shapes_are_refused():
    assert math.isnan(metrics.top1(np.zeros((0, 3)), np.zeros(0)))
    with pytest.raises(UsageError, match="one row of logits a label"):
        metrics.top1(np.zeros((2, 3)), np.zeros(3))
    with pytest.raises(UsageError):
        metrics.top1(np.zeros(3), np.zeros(3))


def test_unit_keeps_a_zero_row():
    assert metrics.unit(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist() == [[0.6, 0.8], [0.0, 0.0]]


def test_flip_embedding_adds_the_mirror_image_then_normalises():
    outputs = np.array([[1.0, 0.0], [0.0, 2.0], [1.0, 2.0], [0.0, 1.0]])  # two plain rows, two mirrored ones
    expected = [[1 / math.sqrt(2), 1 / math.sqrt(2)], [0.0, 1.0]]
    np.testing.assert_allclose(metrics.flip_embedding(outputs), expected)
    with pytest.raises(UsageError, match="mirror"):
        metrics.flip_embedding(outputs[:3])


def test_cosine_by_hand_with_zero_rows():
    a = np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0], [0.0, 0.0]])
    b = np.array([[0.0, 2.0], [3.0, 3.0], [0.0, 0.0], [1.0, 0.0]])
    np.testing.assert_allclose(metrics.cosine(a, b), [0.0, 1.0, 1.0, 0.0], atol=1e-12)


def test_cosine_stats():
    stats = metrics.cosine_stats(np.linspace(0.0, 1.0, 101))
    assert (stats.mean, stats.p1, stats.min) == (pytest.approx(0.5), pytest.approx(0.01), 0.0)
    assert math.isnan(metrics.cosine_stats(np.zeros(0)).p1)


@pytest.mark.parametrize(
    ("scores", "same", "expected"),
    [
        ([0.1, 0.3, 0.7, 0.9], [0, 0, 1, 1], 0.5),  # halfway between 0.3 and 0.7
        ([0.5, 0.5, 0.5], [1, 1, 0], 0.5),  # tied scores cannot be parted: all are called same
        ([0.2, 0.4], [0, 0], np.nextafter(0.4, 1)),  # nothing is the same: a threshold above every score
        ([0.2, 0.4], [1, 1], 0.2),
    ],
)
def test_best_threshold_by_hand(scores: list[float], same: list[int], expected: float):
    assert metrics.best_threshold(np.array(scores), np.array(same, bool)) == pytest.approx(expected, abs=1e-15)


def test_best_threshold_parts_two_neighbouring_floats():
    low = 0.5
    high = np.nextafter(low, 1)  # their mean rounds to one of them
    threshold = metrics.best_threshold(np.array([low, high]), np.array([False, True]))
    assert low < threshold <= high


def test_best_threshold_equals_brute_force():
    rng = np.random.default_rng(0)
    for _ in range(50):
        scores, same = rng.integers(0, 8, 12) / 8, rng.random(12) < 0.5
        tried = [((scores >= t) == same).mean() for t in [*(np.arange(-1, 18) / 16)]]
        threshold = metrics.best_threshold(scores, same)
        assert ((scores >= threshold) == same).mean() == max(tried)


def test_k_fold_takes_each_threshold_from_the_other_folds():
    scores = np.array([0.1, 0.9, 0.6, 0.8])
    same = np.array([False, True, False, True])
    folds = metrics.k_fold(scores, same, np.array([0, 0, 1, 1]))
    assert folds.thresholds == (pytest.approx(0.7), pytest.approx(0.5))
    assert folds.correct.tolist() == [True, True, False, True]  # 0.6 is above fold 0's threshold of 0.5
    assert folds.accuracy == (1.0, 0.5)
    assert (folds.mean, folds.std) == (0.75, 0.25)
    with pytest.raises(UsageError, match="two folds"):
        metrics.k_fold(scores, same, np.zeros(4))


def test_tar_at_far_never_exceeds_the_asked_rate():
    negatives = impostors(0.9, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05, 0.04, 0.03, 0.02)
    genuine = np.array([0.95, 0.7, 0.45, 0.35])
    at_none = metrics.tar_at_far(genuine, negatives, 0.05)  # floor(0.5) = 0 may be accepted
    assert (at_none.tar, at_none.far) == (0.25, 0.0)
    at_one = metrics.tar_at_far(genuine, negatives, 0.1)
    assert (at_one.tar, at_one.far) == (0.5, 0.1)
    assert 0.5 < at_one.threshold < 0.5 + 1e-9
    at_all = metrics.tar_at_far(genuine, negatives, 1.0)
    assert (at_all.tar, at_all.far) == (1.0, 1.0)


def test_tar_at_far_rejects_all_impostors_that_tie():
    point = metrics.tar_at_far(np.array([0.5, 0.6]), impostors(0.5, 0.5, 0.5, 0.1), 0.5)
    assert (point.tar, point.far) == (0.5, 0.0)  # accepting one at 0.5 would accept three of four


def test_tar_of_no_genuine_pair_is_nan_and_nan_scores_are_not_accepted():
    assert math.isnan(metrics.tar_at_far(np.zeros(0), impostors(0.1, 0.2), 0.5).tar)
    assert metrics.tar_at_far(np.array([np.nan, 0.9]), impostors(0.1, 0.2), 0.0).tar == 0.5


def test_a_rate_beyond_what_was_kept_is_refused():
    few = Impostors(np.array([0.9, 0.8]), np.array([0, 1]), np.array([1, 2]), total=1000)
    assert few.bar(0.001) == 0.8
    with pytest.raises(UsageError, match="only 2 scores were kept"):
        few.bar(0.01)


@pytest.mark.parametrize("block", [1, 7, 64])
def test_cross_person_equals_all_pairs_by_brute_force(block: int):
    rng = np.random.default_rng(1)
    embeddings, person = metrics.unit(rng.standard_normal((40, 8))), rng.integers(0, 9, 40)
    found = metrics.cross_person(embeddings, person, keep=100, block=block)
    pairs = [(i, j) for i in range(40) for j in range(i + 1, 40) if person[i] != person[j]]
    scores = sorted((float(embeddings[i] @ embeddings[j]) for i, j in pairs), reverse=True)
    assert found.total == len(pairs)
    np.testing.assert_allclose(found.scores, scores[:100], atol=1e-12)
    assert (found.first != found.second).all()


def test_weighted_bar_with_even_weights_is_the_bar():
    rng = np.random.default_rng(2)
    negatives = impostors(*rng.random(200))
    for far in (0.005, 0.01, 0.1, 0.5, 1.0):
        assert negatives.weighted_bar(far, np.ones(200), 200.0) == negatives.bar(far)


def test_weighted_bar_counts_a_pair_as_often_as_it_was_drawn():
    negatives = impostors(0.9, 0.8, 0.7, 0.6)
    assert negatives.weighted_bar(0.25, np.array([0.0, 0.0, 1.0, 3.0]), 4.0) == 0.6
    assert negatives.weighted_bar(0.25, np.array([2.0, 1.0, 1.0, 0.0]), 4.0) == 0.9


def test_weighted_bar_is_cautious_when_the_kept_scores_run_out():
    few = Impostors(np.array([0.9, 0.8]), np.array([0, 1]), np.array([1, 2]), total=10)
    assert few.weighted_bar(0.5, np.zeros(2), 10.0) == 0.8


def test_sqnr_by_hand():
    assert metrics.sqnr_db(100.0, 1.0) == pytest.approx(20.0)
    assert metrics.sqnr_db(1.0, 0.0) == 200.0
    assert metrics.sqnr_db(0.0, 1.0) == -200.0


def test_errors_of_metrics_travel_between_processes():
    with pytest.raises(UsageError) as caught:
        metrics.flip_embedding(np.zeros((3, 2)))
    assert pickle.loads(pickle.dumps(caught.value)).found == "3 rows"
