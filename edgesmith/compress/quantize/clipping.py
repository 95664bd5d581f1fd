"""Where the grid of a value ends: its smallest and largest value, or inside, when what lies outside is rare.

Every method answers from the histograms of one calibration pass, so trying another costs no pass.
Sources: entropy as NVIDIA published it (Migacz 2017, "8-bit inference with TensorRT"), percentile as ONNX Runtime has
it; mse searches both ends for the smallest error (Choukroun et al. 2019, arXiv 1902.06822, for the principle).
"""

from __future__ import annotations

from typing import get_args

import numpy as np

from edgesmith.compress.quantize.entropy import entropy_bounds
from edgesmith.errors import UsageError
from edgesmith.quant import EdgeRange, Histogram, QuantSpec, RangeMethod

PERCENTILE = 99.999
# Large errors count more than in a mean square: 2.4 to 2.6 gave face embeddings closest to the float model's.
POWER = 2.4
_CELLS = 1024  # values that close together count as one
# Shares of the range that are tried as its ends, then what is added around the best.
_COARSE, _FINE = np.arange(1, 0.09, -0.02), np.arange(-0.018, 0.019, 0.002)


def bounds(seen: EdgeRange, method: RangeMethod, spec: QuantSpec) -> tuple[float, float]:
    """The ends of the grid for one value, all channels together; zero lies within.

    A value without histograms has its smallest and largest value. Raises: UsageError for an unknown method.
    """
    if method not in get_args(RangeMethod):
        raise UsageError(f"ranges by {method!r}", "no such method", f"choose from: {', '.join(get_args(RangeMethod))}")
    low, high = min(seen.bounds[0], 0.0), max(seen.bounds[1], 0.0)
    whole = seen.tensor or seen.channels
    if method == "minmax" or seen.channels is None or whole is None or seen.bounds[0] == seen.bounds[1]:
        return low, high
    if method == "entropy":
        found = entropy_bounds(*points(whole, parts=8), (low, high))
    elif method == "percentile":
        found = percentile_bounds(*points(whole), symmetric=spec.symmetric)
    else:
        # The ends of every channel are known, though the histogram, a sample, may lack them.
        values, mass = points(seen.channels)
        values, mass = np.concatenate([values, seen.low, seen.high]), np.concatenate([mass, np.ones(2 * len(seen.low))])
        found = mse_bounds(values, mass, (low, high), spec)
    return min(max(low, found[0]), 0.0), max(min(high, found[1]), 0.0)


def points(histogram: Histogram, parts: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """The middles of all bins that hold something, and how much. Shape: (n,) each, rows together.

    parts: into how many points a bin is spread.
    """
    row, column = np.nonzero(histogram.counts)
    index = histogram.first[row] + column
    inside = (np.arange(parts) + 0.5) / parts
    place = index[:, None] - np.sign(index)[:, None] * inside
    values = place * histogram.width[row][:, None]
    mass = np.repeat(histogram.counts[row, column] / parts, parts)
    return values.reshape(-1), mass


def percentile_bounds(
    values: np.ndarray, mass: np.ndarray, percentile: float = PERCENTILE, symmetric: bool = False
) -> tuple[float, float]:
    """The ends that leave (100 - percentile) % outside: half on each side, or by size."""
    size = np.abs(values) if symmetric else values
    order = np.argsort(size)
    share = np.cumsum(mass[order]) / mass.sum()
    if symmetric:
        end = float(size[order][np.searchsorted(share, percentile / 100).clip(max=len(order) - 1)])
        return -end, end
    outside = (100 - percentile) / 200
    ends = np.searchsorted(share, [outside, 1 - outside]).clip(max=len(order) - 1)
    low, high = size[order][ends]
    return float(low), float(high)


def mse_bounds(
    values: np.ndarray, mass: np.ndarray, ends: tuple[float, float], spec: QuantSpec, power: float = POWER
) -> tuple[float, float]:
    """The ends within `ends` with the smallest mean |error|^power.

    What lies outside is off by its distance. Inside, what rounds to zero is off by its size, the rest by a uniform
    error of up to half a step.
    """
    if spec.symmetric:  # by size: one end, half of the grid
        values, ends = np.abs(values), (0.0, max(-ends[0], ends[1]))
    levels = spec.qmax if spec.symmetric else spec.qmax - spec.qmin
    values, mass = _gathered(values[values != 0], mass[values != 0])
    if not len(values):
        return ends
    lows, highs = (end * _COARSE if end else np.zeros(1) for end in ends)
    for _ in range(2):
        error = _errors(values, mass, (lows, highs), levels, power)
        row, column = np.unravel_index(int(np.argmin(error)), error.shape)
        low, high = float(lows[row]), float(highs[column])
        lows, highs = np.clip(low + _FINE * ends[0], ends[0], 0), np.clip(high + _FINE * ends[1], 0, ends[1])
    return (-high, high) if spec.symmetric else (low, high)


def _errors(
    values: np.ndarray, mass: np.ndarray, ends: tuple[np.ndarray, np.ndarray], levels: int, power: float
) -> np.ndarray:
    """Sum of mass * |error|^power for every pair of ends. Shape: values sorted; (lows, highs)."""
    lows, highs = ends
    below, above = lows[:, None] - values, values - highs[:, None]
    outside = (np.maximum(below, 0) ** power @ mass)[:, None] + np.maximum(above, 0) ** power @ mass
    cut = ((below > 0) @ mass)[:, None] + (above > 0) @ mass
    half = (highs - lows[:, None]) / levels / 2
    order = np.argsort(np.abs(values))
    size, weight = np.abs(values)[order], mass[order]
    small = np.searchsorted(size, half)
    vanished = np.concatenate([[0], np.cumsum(weight * size**power)])[small]
    left = mass.sum() - cut - np.concatenate([[0], np.cumsum(weight)])[small]
    return outside + vanished + np.maximum(left, 0) * half**power / (power + 1)


def _gathered(values: np.ndarray, mass: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most `_CELLS` points, sorted, each the mean of those near it."""
    if not len(values):
        return values, mass
    low, high = values.min(), values.max()
    cell = ((values - low) * ((_CELLS - 1) / max(high - low, 1e-30))).astype(np.int64)
    together = np.bincount(cell, mass, _CELLS)
    middle = np.bincount(cell, mass * values, _CELLS)
    full = together > 0
    return middle[full] / together[full], together[full]
