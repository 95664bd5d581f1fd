"""Confidence intervals in numpy: order statistics, Wilson, paired score, bootstraps over samples, blocks and people."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from edgesmith.errors import UsageError
from edgesmith.results import Interval

Z95 = 1.959963984540054
DRAWS = 1000
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


def from_draws(value: float, draws: np.ndarray) -> Interval:
    """An estimate with the 2.5 % and 97.5 % quantiles of its bootstrap draws (NaN draws are left out)."""
    usable = draws[np.isfinite(draws)]
    if not len(usable):
        return Interval(value, None, None)
    low, high = np.quantile(usable, [0.025, 0.975])
    return Interval(value, float(min(low, value)), float(max(high, value)))


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
    numerator: Sequence[Sequence[float]], denominator: Sequence[Sequence[float]], seed: int = 0, draws: int = DRAWS
) -> Interval:
    """median(numerator) / median(denominator), interval by drawing interleaved blocks in pairs.

    Block i of both was taken in the same moment: drawing them together lets a drift of the machine cancel.
    Raises: UsageError when the numbers of blocks differ. Fewer than two blocks: no bounds.
    """
    if len(numerator) != len(denominator):
        found = f"{len(numerator)} and {len(denominator)} blocks"
        raise UsageError("a ratio of interleaved blocks", found, "measure both in one run")
    top, bottom = [np.asarray(b, np.float64) for b in numerator], [np.asarray(b, np.float64) for b in denominator]
    if not sum(map(len, top)) or not sum(map(len, bottom)):
        return Interval(math.nan, None, None)
    value = float(np.median(np.concatenate(top)) / np.median(np.concatenate(bottom)))
    if len(top) < 2:
        return Interval(value, None, None)
    rng, drawn = np.random.default_rng(seed), np.empty(draws)
    for i in range(draws):
        chosen = rng.integers(0, len(top), len(top))
        drawn[i] = np.median(np.concatenate([top[k] for k in chosen])) / np.median(
            np.concatenate([bottom[k] for k in chosen])
        )
    return from_draws(value, drawn)


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
