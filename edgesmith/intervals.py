"""Confidence intervals in numpy: order statistics, Wilson, paired score, bootstraps over samples, blocks and people."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist

import numpy as np

from edgesmith.distributions import beta_quantile, t_quantile
from edgesmith.errors import UsageError
from edgesmith.results import Interval

Z95 = 1.959963984540054
DRAWS = 1000
LEAST_VARIANCE = 0.25  # of that of independent samples: few blocks may agree by luck
FEWEST_FOR_BOOTSTRAP = 8  # below this a bootstrap only repeats the samples, and claims too much


def percentile(samples: Sequence[float] | np.ndarray, q: float, confidence: float = 0.95) -> Interval:
    """The q quantile (0 < q < 1) with its order-statistic interval.

    An end is None where no sample bounds it: p99 has an upper bound from 368 samples on (0.99**n <= 0.025).
    Source: David and Nagaraja, Order Statistics, 7.1; samples are taken as independent.
    """
    ranked = np.sort(np.asarray(samples, np.float64))
    if not len(ranked) or np.isnan(ranked).any():
        return Interval(math.nan, None, None, confidence)
    low, high = order_ranks(len(ranked), q, confidence)
    return Interval(
        float(np.quantile(ranked, q)),
        None if low is None else float(ranked[low - 1]),
        None if high is None else float(ranked[high - 1]),
        confidence,
    )


def percentile_of_blocks(blocks: Sequence[Sequence[float]], q: float, confidence: float = 0.95) -> Interval:
    """The q quantile of samples taken in blocks; samples of a block may depend on one another, blocks do not.

    How much the share of samples under the quantile differs from block to block says how many independent samples
    all of them are worth; with these the ends are those of a share. Fewer than two blocks: no bounds.
    Source: Woodruff 1952 (a quantile's interval from that of its share); Korn and Graubard 1998 (effective size).
    """
    parts = [np.asarray(block, np.float64) for block in blocks if len(block)]
    ranked = np.sort(np.concatenate(parts)) if parts else np.zeros(0)
    n, tail = len(ranked), (1 - confidence) / 2
    if not n or np.isnan(ranked).any():
        return Interval(math.nan, None, None, confidence)
    value = float(np.quantile(ranked, q))
    if len(parts) < 2:
        return Interval(value, None, None, confidence)
    effective = effective_samples(parts, value, q, confidence)
    under, over = effective * q, effective * (1 - q)
    low = math.floor(n * beta_quantile(tail, under, over + 1))
    high = math.ceil(n * beta_quantile(1 - tail, under + 1, over)) + 1
    ends = (float(ranked[low - 1]) if low >= 1 else None, float(ranked[high - 1]) if high <= n else None)
    return Interval(value, *ends, confidence)


def effective_samples(blocks: Sequence[np.ndarray], value: float, q: float, confidence: float = 0.95) -> float:
    """How many independent samples the blocks are worth for their q quantile `value`, at this confidence.

    The variance of a share is that between blocks; Student's t instead of the normal quantile, since blocks are few.
    """
    sizes, count = np.array([len(block) for block in blocks]), len(blocks)
    apart = np.array([(block <= value).mean() for block in blocks]) - q
    between = float(np.sum((sizes / sizes.mean() * apart) ** 2)) / (count - 1) / count
    variance = max(between, LEAST_VARIANCE * q * (1 - q) / sizes.sum())
    share = 0.5 + confidence / 2
    return q * (1 - q) / variance * (NormalDist().inv_cdf(share) / t_quantile(share, count - 1)) ** 2


def order_ranks(n: int, q: float, confidence: float = 0.95) -> tuple[int | None, int | None]:
    """Ranks (from 1) of the order statistics that hold the q quantile between them."""
    tail = (1 - confidence) / 2 + 1e-12
    below = np.cumsum(_binomial(n, q))  # below[k] = P(at most k samples under the quantile)
    low = int(np.searchsorted(below, tail, side="right"))
    at_least = np.cumsum(_binomial(n, q)[::-1])[::-1]  # at_least[k] = P(k samples or more under it)
    fits = np.flatnonzero(at_least <= tail)
    return (low if low > 0 else None), (int(fits[0]) if len(fits) else None)


def _binomial(n: int, q: float) -> np.ndarray:
    k = np.arange(1, n + 1)
    log_choose = np.concatenate([[0.0], np.cumsum(np.log(n - k + 1) - np.log(k))])
    return np.exp(log_choose + np.arange(n + 1) * math.log(q) + np.arange(n, -1, -1) * math.log1p(-q))


def samples_for_upper_bound(q: float, confidence: float = 0.95) -> int:
    """The fewest samples with which the q quantile has an upper bound."""
    return math.ceil(math.log((1 - confidence) / 2) / math.log(q) - 1e-9)


def wilson(successes: int, n: int) -> Interval:
    """A share with Wilson's score interval; NaN and no bounds for n = 0. Source: Wilson 1927, equation 4."""
    if n == 0:
        return Interval(math.nan, None, None)
    share, z2 = successes / n, Z95 * Z95
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return Interval(share, min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half)))


def mcnemar(only_first: int, only_second: int) -> float:
    """Two-sided exact p-value that the two discordant counts come from equal chances. Source: McNemar 1947."""
    n = only_first + only_second
    tail = sum(math.comb(n, k) for k in range(min(only_first, only_second) + 1))
    return min(1.0, 2 * tail / 2**n)


def from_draws(value: float, draws: np.ndarray, confidence: float = 0.95) -> Interval:
    """An estimate with the outer quantiles of its bootstrap draws, 2.5 % and 97.5 % (NaN draws are left out)."""
    usable = draws[np.isfinite(draws)]
    if not len(usable):
        return Interval(value, None, None, confidence)
    low, high = np.quantile(usable, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(value, float(min(low, value)), float(max(high, value)), confidence)


def hull(first: Interval, second: Interval) -> Interval:
    """The value of the first with the wider end of the two on each side; an open end stays open."""
    low = None if first.low is None or second.low is None else min(first.low, second.low)
    high = None if first.high is None or second.high is None else max(first.high, second.high)
    return Interval(first.value, low, high, first.confidence)


def mean(values: np.ndarray, seed: int = 0, draws: int = DRAWS) -> Interval:
    """A mean with its bootstrap interval; no bounds from fewer than 8 values. Shape: (N,)."""
    values = np.asarray(values, np.float64)
    if not len(values):
        return Interval(math.nan, None, None)
    if len(values) < FEWEST_FOR_BOOTSTRAP:
        return Interval(float(values.mean()), None, None)
    rng, count = np.random.default_rng(seed), len(values)
    drawn = np.array([values[rng.integers(0, count, count)].mean() for _ in range(draws)])
    return from_draws(float(values.mean()), drawn)


def ratio_of_medians(
    numerator: Sequence[Sequence[float]],
    denominator: Sequence[Sequence[float]],
    seed: int = 0,
    draws: int = DRAWS,
    confidence: float = 0.95,
) -> Interval:
    """median(numerator) / median(denominator), interval by drawing interleaved blocks in pairs.

    Block i of both was taken in the same moment: drawing them together lets a drift of the machine cancel. Draws of
    few blocks spread too little: both ends are moved outwards by sqrt(B / (B - 1)) and by Student's t over z.
    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, 12.2 and its exercise on narrowness.
    Raises: UsageError when the numbers of blocks differ. Fewer than two blocks: no bounds.
    """
    if len(numerator) != len(denominator):
        found = f"{len(numerator)} and {len(denominator)} blocks"
        raise UsageError("a ratio of interleaved blocks", found, "measure both in one run")
    top, bottom = [np.asarray(b, np.float64) for b in numerator], [np.asarray(b, np.float64) for b in denominator]
    if not sum(map(len, top)) or not sum(map(len, bottom)):
        return Interval(math.nan, None, None, confidence)
    value = float(np.median(np.concatenate(top)) / np.median(np.concatenate(bottom)))
    count = len(top)
    if count < 2:
        return Interval(value, None, None, confidence)
    chosen = np.random.default_rng(seed).integers(0, count, (draws, count))
    drawn = from_draws(value, _medians(top, chosen) / _medians(bottom, chosen), confidence)
    share = 0.5 + confidence / 2
    further = math.sqrt(count / (count - 1)) * t_quantile(share, count - 1) / NormalDist().inv_cdf(share)
    return _moved_outwards(drawn, further)


def _medians(blocks: Sequence[np.ndarray], chosen: np.ndarray) -> np.ndarray:
    """The median of all samples of each row of chosen blocks. Shape: (draws, B) -> (draws,)."""
    if len({len(block) for block in blocks}) == 1:
        return np.asarray(np.median(np.stack(blocks)[chosen].reshape(len(chosen), -1), axis=1))
    return np.array([np.median(np.concatenate([blocks[k] for k in row])) for row in chosen])


def _moved_outwards(ratio: Interval, further: float) -> Interval:
    """A ratio whose ends are `further` times as far away, on a logarithmic scale."""
    low, high = (
        None if end is None else ratio.value * (end / ratio.value) ** further for end in (ratio.low, ratio.high)
    )
    return Interval(ratio.value, low, high, ratio.confidence)


def at_confidence(interval: Interval, confidence: float) -> Interval:
    """The same interval at another confidence, its halves taken to grow as those of a normal distribution do."""
    now, then = (NormalDist().inv_cdf(0.5 + c / 2) for c in (interval.confidence, confidence))
    low, high = (
        None if end is None else interval.value + (end - interval.value) * then / now
        for end in (interval.low, interval.high)
    )
    return Interval(interval.value, low, high, confidence)


def bootstrap_drop(reference: np.ndarray, candidate: np.ndarray, seed: int = 0, draws: int = DRAWS) -> Interval:
    """mean(reference) - mean(candidate) of paired right/wrong answers, paired bootstrap. Shape: bool (N,) twice.

    Drawing pairs with replacement is drawing their differences (-1, 0, 1) from a multinomial.
    """
    n, lost, won = _discordant(reference, candidate)
    if n == 0:
        return Interval(math.nan, None, None)
    counts = np.random.default_rng(seed).multinomial(n, [lost / n, won / n, (n - lost - won) / n], size=draws)
    return from_draws((lost - won) / n, (counts[:, 0] - counts[:, 1]) / n)


def score_drop(reference: np.ndarray, candidate: np.ndarray) -> Interval:
    """The same drop with the score interval for paired proportions. Shape: bool (N,) twice.

    With no discordant pair its ends are +-z2 / (n + z2), where a bootstrap would claim certainty from any n.
    Source: Tango 1998, "Equivalence test and confidence interval for the difference in proportions", eq. 15-17.
    """
    n, lost, won = _discordant(reference, candidate)
    if n == 0:
        return Interval(math.nan, None, None)
    value = (lost - won) / n
    low = _bisect(lambda d: _tango(n, lost, won, d) - Z95, -1.0, value)
    high = _bisect(lambda d: _tango(n, lost, won, d) + Z95, value, 1.0)
    return Interval(value, low, high)


def paired_drop(reference: np.ndarray, candidate: np.ndarray, seed: int = 0) -> Interval:
    """The drop with the wider of bootstrap and score interval on each side. Shape: bool (N,) twice."""
    return hull(bootstrap_drop(reference, candidate, seed), score_drop(reference, candidate))


def _discordant(reference: np.ndarray, candidate: np.ndarray) -> tuple[int, int, int]:
    first, second = np.asarray(reference, bool), np.asarray(candidate, bool)
    if first.shape != second.shape:
        raise UsageError("paired answers", f"{first.shape} and {second.shape}", "judge both on the same samples")
    return len(first), int((first & ~second).sum()), int((~first & second).sum())


def _tango(n: int, lost: int, won: int, drop: float) -> float:
    a, b = 2.0 * n, -lost - won + (2.0 * n - lost + won) * drop
    c = -won * drop * (1 - drop)
    rest = max(0.0, (math.sqrt(max(0.0, b * b - 4 * a * c)) - b) / (2 * a))
    variance = n * (2 * rest + drop * (1 - drop))
    difference = lost - won - n * drop
    if variance <= 0:
        return math.copysign(math.inf, difference) if difference else 0.0
    return difference / math.sqrt(variance)


def _bisect(falling: Callable[[float], float], low: float, high: float) -> float:
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if falling(middle) > 0 else (low, middle)
    return (low + high) / 2


def over_people(statistic: Callable[[np.ndarray], float], people: int, seed: int = 0, draws: int = DRAWS) -> np.ndarray:
    """`statistic` of how often each of `people` was drawn, for each of `draws` draws with replacement.

    Pairs of images that share a person are not independent: people are. Shape: -> (draws,).
    """
    rng, even = np.random.default_rng(seed), np.full(people, 1.0 / people)
    return np.array([statistic(rng.multinomial(people, even).astype(np.float64)) for _ in range(draws)])


def pair_weights(drawn: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """How often a pair occurs in a draw of people. Copies of one person are not paired with each other.

    Shape: drawn (people,), first and second (P,) -> (P,).
    """
    return np.where(first == second, drawn[first], drawn[first] * drawn[second])
