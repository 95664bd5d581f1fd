"""2,000 simulated runs each: 95 % intervals hold the truth in 93 to 97 of 100, whatever the noise of the machine."""

import numpy as np
import pytest

from benchmarks.simulated_noise import Noise, autocorrelated, bursty, normal
from edgesmith import intervals
from edgesmith.results import Interval

RUNS = 2000
NOISES = [Noise("independent", normal), Noise("autocorrelated", autocorrelated(0.7)), Noise("bursts", bursty(4))]


def coverage(found: list[Interval], truth: float) -> float:
    inside = [(i.low is None or i.low <= truth) and (i.high is None or truth <= i.high) for i in found]
    return 100 * float(np.mean(inside))


@pytest.mark.parametrize("noise", NOISES, ids=lambda noise: noise.name)
@pytest.mark.parametrize("q", [0.5, 0.9])
def test_percentiles_of_blocks_cover(noise: Noise, q: float):
    drawn, truth = noise.interleaved(RUNS, seed=1), noise.quantile(q)
    assert 93 <= coverage([intervals.percentile_of_blocks(run[0], q) for run in drawn], truth) <= 97
    if noise.name != "independent":  # what goes wrong when samples of a block are taken as independent
        assert coverage([intervals.percentile(run[0].ravel(), q) for run in drawn[:500]], truth) < 90


@pytest.mark.parametrize("noise", NOISES, ids=lambda noise: noise.name)
def test_ratios_of_interleaved_blocks_cover(noise: Noise):
    drawn = noise.interleaved(RUNS, seed=2)
    found = [intervals.ratio_of_medians(run[0], run[1], seed, draws=100) for seed, run in enumerate(drawn)]
    assert 93 <= coverage(found, 1.0) <= 97


@pytest.mark.parametrize(("n", "lost", "won"), [(300, 0.03, 0.02), (1000, 0.02, 0.01)])
def test_drops_of_an_accuracy_cover(n: int, lost: float, won: float):
    rng, found = np.random.default_rng(3), []
    for seed in range(RUNS):
        dice = rng.random(n)
        reference, candidate = ~((dice >= lost) & (dice < lost + won)), dice >= lost
        found.append(intervals.paired_drop(reference, candidate, seed))
    assert 93 <= coverage(found, lost - won) <= 97
