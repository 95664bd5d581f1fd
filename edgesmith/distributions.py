"""Quantiles of the beta and of Student's t distribution in plain Python: a device has numpy and no scipy."""

from __future__ import annotations

import math
from functools import lru_cache

_SMALL = 1e-300
_STEPS = 300


def beta_share(x: float, a: float, b: float) -> float:
    """P(X <= x) of a beta distribution, the regularised incomplete beta function I_x(a, b).

    Source: NIST Digital Library of Mathematical Functions, 8.17.22 (continued fraction), by Lentz's method.
    """
    if not 0 < x < 1:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):  # the fraction converges fast on this side of the mean only
        return 1.0 - beta_share(1 - x, b, a)
    log_front = a * math.log(x) + b * math.log1p(-x) + math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    front, c = math.exp(log_front) / a, 1.0
    d = found = 1.0 / _not_zero(1 - (a + b) * x / (a + 1))
    for m in range(1, _STEPS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        before = found
        for step in (even, odd):
            d, c = 1.0 / _not_zero(1 + step * d), _not_zero(1 + step / c)
            found *= d * c
        if abs(found - before) < 1e-13 * abs(found):
            break
    return front * found


def beta_quantile(share: float, a: float, b: float) -> float:
    """The x with P(X <= x) = share, by Newton's method inside a bracket. a or b of 0 puts everything at 0 or 1."""
    if a <= 0 or b <= 0:
        return 0.0 if a <= 0 else 1.0
    low, high, x = 0.0, 1.0, a / (a + b)
    scale = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    for _ in range(_STEPS):
        error = beta_share(x, a, b) - share
        low, high = (x, high) if error < 0 else (low, x)
        density = math.exp(scale + (a - 1) * math.log(x) + (b - 1) * math.log1p(-x)) if 0 < x < 1 else 0.0
        step = x - error / density if density > 0 else -1.0
        before, x = x, step if low < step < high else (low + high) / 2
        if abs(x - before) <= 1e-14 * x:
            break
    return x


@lru_cache(maxsize=64)
def t_quantile(share: float, freedom: float) -> float:
    """The quantile of Student's t for a share of at least a half.

    Source: the same library, 8.17.2 with x = freedom / (freedom + t^2).
    """
    x = beta_quantile(2 * (1 - share), freedom / 2, 0.5)
    return math.sqrt(freedom * (1 - x) / x) if x > 0 else math.inf


def clopper_pearson(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The exact ends of a share. Source: Clopper and Pearson 1934."""
    tail = (1 - confidence) / 2
    low = beta_quantile(tail, successes, n - successes + 1)
    return low, beta_quantile(1 - tail, successes + 1, n - successes)


def _not_zero(value: float) -> float:
    return value if abs(value) > _SMALL else _SMALL
