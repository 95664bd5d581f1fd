import math
from itertools import product

import numpy as np
import pytest

from edgesmith import intervals
from edgesmith.errors import UsageError


def test_order_ranks_of_the_median_by_hand():
    # n = 6: P(B <= 0) = 1/64 <= 0.025 < P(B <= 1), so the interval runs from the 1st to the 6th; n = 5 has none.
    assert intervals.order_ranks(6, 0.5) == (1, 6)
    assert intervals.order_ranks(5, 0.5) == (None, None)
    # n = 20: P(B <= 5) = 0.0207, P(B <= 6) = 0.0577: 6th to 15th, as tables of the sign test say.
    assert intervals.order_ranks(20, 0.5) == (6, 15)


def test_p99_has_an_upper_bound_from_368_samples():
    samples = np.arange(400.0)
    assert intervals.percentile(samples[:367], 0.99).high is None
    assert intervals.percentile(samples[:368], 0.99).high == 367.0
    assert intervals.samples_for_upper_bound(0.99) == 368
    assert intervals.samples_for_upper_bound(0.5) == 6


def test_percentile_of_one_none_ties_and_nan():
    one = intervals.percentile([3.0], 0.5)
    assert (one.value, one.low, one.high) == (3.0, None, None)
    assert math.isnan(intervals.percentile([], 0.5).value)
    tied = intervals.percentile([2.0] * 50, 0.5)
    assert (tied.value, tied.low, tied.high) == (2.0, 2.0, 2.0)
    assert math.isnan(intervals.percentile([1.0, math.nan] * 20, 0.5).value)


@pytest.mark.parametrize(("q", "true"), [(0.5, math.log(2)), (0.9, math.log(10))])
def test_order_statistic_interval_covers(q: float, true: float):
    found = [intervals.percentile(np.random.default_rng(s).exponential(size=60), q) for s in range(200)]
    covered = np.mean([i.low is not None and i.low <= true and (i.high is None or true <= i.high) for i in found])
    assert 0.90 <= covered <= 1.0
    if q == 0.5:
        assert covered <= 0.99  # not merely too wide


def test_binomial_adds_to_one_for_many_samples():
    assert intervals._binomial(20_000, 0.99).sum() == pytest.approx(1.0, abs=1e-9)


def test_wilson_by_hand_and_at_the_ends():
    found = intervals.wilson(81, 263)  # Newcombe 1998, table I: 0.2553 to 0.3662
    assert (round(found.low, 4), round(found.high, 4)) == (0.2553, 0.3662)
    none, all_ = intervals.wilson(0, 20), intervals.wilson(20, 20)
    assert (none.low, round(none.high, 4)) == (0.0, 0.1611)  # same table
    assert all_.high == 1.0 and all_.low == pytest.approx(1 - none.high)
    assert intervals.wilson(0, 0).low is None


def test_mcnemar_by_hand():
    assert intervals.mcnemar(0, 0) == 1.0
    assert intervals.mcnemar(5, 0) == pytest.approx(2 / 32)
    assert intervals.mcnemar(1, 7) == pytest.approx(2 * (1 + 8) / 256)
    assert intervals.mcnemar(3, 3) == 1.0
    assert intervals.mcnemar(900, 1100) < 1e-4


def answers(both: int, lost: int, won: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    reference = np.array([1] * both + [1] * lost + [0] * won + [0] * neither, bool)
    candidate = np.array([1] * both + [0] * lost + [1] * won + [0] * neither, bool)
    return reference, candidate


def test_score_drop_without_a_discordant_pair_has_its_closed_form():
    for n in (1, 10, 360):
        found = intervals.score_drop(*answers(n, 0, 0, 0))
        bound = intervals.Z95**2 / (n + intervals.Z95**2)
        assert (found.value, found.low, found.high) == (0.0, pytest.approx(-bound), pytest.approx(bound))


def test_score_drop_ends_solve_tangos_equation_and_mirror():
    found = intervals.score_drop(*answers(36, 12, 2, 0))
    assert found.value == pytest.approx(0.2)
    assert intervals._tango(50, 12, 2, found.low) == pytest.approx(intervals.Z95, abs=1e-6)
    assert intervals._tango(50, 12, 2, found.high) == pytest.approx(-intervals.Z95, abs=1e-6)
    swapped = intervals.score_drop(*answers(36, 2, 12, 0))
    assert (swapped.low, swapped.high) == (pytest.approx(-found.high), pytest.approx(-found.low))


def test_tango_variance_is_that_of_the_likelihood_under_the_drop():
    # The rest probability in the statistic must maximise the likelihood lost*log(q+d) + won*log(q) + ... at that drop.
    n, lost, won, drop = 40, 7, 3, 0.05
    q = np.linspace(1e-6, (1 - drop) / 2 - 1e-6, 200_001)
    likelihood = lost * np.log(q + drop) + won * np.log(q) + (n - lost - won) * np.log(1 - 2 * q - drop)
    best = q[likelihood.argmax()]
    expected = (lost - won - n * drop) / math.sqrt(n * (2 * best + drop - drop**2))
    assert intervals._tango(n, lost, won, drop) == pytest.approx(expected, abs=1e-3)


def test_bootstrap_drop_is_seeded_and_near_the_normal_interval():
    pair = answers(800, 60, 20, 120)
    first, again = intervals.bootstrap_drop(*pair, seed=3), intervals.bootstrap_drop(*pair, seed=3)
    assert first == again
    assert first.value == pytest.approx(0.04)
    spread = 1.96 * math.sqrt((80 / 1000 - 0.04**2) / 1000)
    assert first.low == pytest.approx(0.04 - spread, abs=0.003)
    assert first.high == pytest.approx(0.04 + spread, abs=0.003)


def test_paired_drop_is_never_certain_from_few_samples():
    few = intervals.paired_drop(*answers(3, 0, 0, 0))
    assert few.high > 0.5
    assert intervals.bootstrap_drop(*answers(3, 0, 0, 0)).high == 0.0  # what it guards against
    assert intervals.paired_drop(*answers(0, 0, 0, 0)).low is None
    with pytest.raises(UsageError, match="same samples"):
        intervals.paired_drop(np.ones(3, bool), np.ones(4, bool))


def test_paired_drop_covers():
    covered = 0
    for seed in range(200):
        draw = np.random.default_rng(seed).multinomial(150, [0.85, 0.06, 0.02, 0.07])
        found = intervals.paired_drop(*answers(*draw), seed=seed)
        covered += found.low <= 0.04 <= found.high
    assert 0.92 <= covered / 200 <= 1.0


def test_mean_needs_eight_values_for_bounds():
    assert intervals.mean(np.arange(7.0)).low is None
    found = intervals.mean(np.arange(100.0))
    assert found.value == 49.5
    assert found.low == pytest.approx(49.5 - 1.96 * 2.887, abs=0.6)
    assert math.isnan(intervals.mean(np.zeros(0)).value)


def test_ratio_of_medians_survives_a_drift_that_both_share():
    rng = np.random.default_rng(0)
    drift = np.linspace(1.0, 3.0, 10)[:, None]  # the machine slows down threefold
    slow = 10 * drift * (1 + 0.01 * rng.standard_normal((10, 20)))
    fast = 4 * drift * (1 + 0.01 * rng.standard_normal((10, 20)))
    found = intervals.ratio_of_medians(slow.tolist(), fast.tolist())
    assert found.low < 2.5 < found.high
    assert found.high - found.low < 0.1


def test_ratio_of_medians_by_hand_and_at_the_edges():
    assert intervals.ratio_of_medians([[2.0, 4.0, 6.0]], [[1.0, 2.0, 3.0]]).value == 2.0
    assert intervals.ratio_of_medians([[2.0]], [[1.0]]).low is None  # one block says nothing about its spread
    assert math.isnan(intervals.ratio_of_medians([], []).value)
    uneven = intervals.ratio_of_medians([[2.0], [2.0, 2.0]], [[1.0, 1.0], [1.0]])
    assert (uneven.value, uneven.low, uneven.high) == (2.0, 2.0, 2.0)
    with pytest.raises(UsageError, match="one run"):
        intervals.ratio_of_medians([[1.0]], [[1.0], [1.0]])


def test_over_people_draws_people_not_pairs():
    totals = intervals.over_people(lambda drawn: drawn.sum(), people=30, draws=50)
    assert (totals == 30).all()
    spread = intervals.over_people(lambda drawn: drawn[0], people=30, draws=2000)
    assert spread.mean() == pytest.approx(1.0, abs=0.1)


def test_pair_weights_do_not_pair_copies_of_one_person():
    drawn = np.array([2.0, 3.0, 0.0])
    first, second = np.array([0, 0, 1]), np.array([0, 1, 2])
    assert intervals.pair_weights(drawn, first, second).tolist() == [2.0, 6.0, 0.0]


@pytest.mark.parametrize("ends", product([None, 0.0], [None, 1.0]))
def test_hull_keeps_an_open_end_open(ends: tuple[float | None, float | None]):
    from edgesmith.results import Interval

    found = intervals.hull(Interval(0.5, *ends), Interval(0.5, 0.2, 2.0))
    assert found.low == ends[0]
    assert found.high == (None if ends[1] is None else 2.0)


def test_from_draws_leaves_out_nan_and_holds_the_value():
    found = intervals.from_draws(5.0, np.array([1.0, 2.0, math.nan]))
    assert found.low < 2.0 and found.high == 5.0
    assert intervals.from_draws(1.0, np.array([math.nan])).low is None


def test_percentile_of_blocks_at_the_edges():
    assert math.isnan(intervals.percentile_of_blocks([], 0.5).value)
    assert math.isnan(intervals.percentile_of_blocks([[1.0], [math.nan]], 0.5).value)
    alone = intervals.percentile_of_blocks([[1.0, 2.0, 3.0]], 0.5)
    assert (alone.value, alone.low, alone.high) == (2.0, None, None)  # one block says nothing about its neighbours
    tied = intervals.percentile_of_blocks([[2.0] * 20] * 10, 0.5)
    assert (tied.value, tied.low, tied.high) == (2.0, 2.0, 2.0)
    assert intervals.percentile_of_blocks(np.arange(200.0).reshape(10, 20), 0.99).high is None


def test_samples_that_repeat_one_another_are_worth_one():
    """Ten blocks of one value each are ten samples, however often each is repeated."""
    values = np.random.default_rng(0).permutation(10.0 + np.arange(10))
    often = intervals.percentile_of_blocks(np.repeat(values[:, None], 50, axis=1), 0.5)
    assert often.low is not None and often.low <= 11 and often.high is not None and often.high >= 18
    independent = intervals.percentile(np.repeat(values, 50), 0.5)
    assert independent.low == independent.high - 1 or independent.high - independent.low <= 2  # what it would claim


def test_more_confidence_is_wider():
    blocks = np.random.default_rng(0).normal(10, 1, (10, 20))
    usual, sure = (intervals.percentile_of_blocks(blocks, 0.5, confidence) for confidence in (0.95, 0.99))
    assert sure.low < usual.low and sure.high > usual.high
    moved = intervals.at_confidence(intervals.Interval(1.0, 0.0, None), 0.99)
    assert moved.low == pytest.approx(1 - 2.5758 / 1.95996, abs=1e-4)
    assert moved.high is None and moved.confidence == 0.99
    ratios = [intervals.ratio_of_medians(blocks, blocks[::-1], confidence=c) for c in (0.95, 0.99)]
    assert ratios[1].low < ratios[0].low and ratios[1].high > ratios[0].high
