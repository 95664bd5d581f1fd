"""The range whose 8-bit version says most about the values: the smallest Kullback-Leibler divergence.

Source: Migacz 2017, "8-bit inference with TensorRT", in the form that ONNX Runtime's Entropy calibrator has: bins
symmetric around zero, 128 quantized ones, divergence after smoothing empty bins, in 32 bits. The last matters: with
1,024 bins and more the smallest divergences differ by 1e-5 of themselves, and the rounding decides which is taken. So
the ends are those of ONNX Runtime where the counts are; where a value lies in the next bin, the ends can be others
whose divergence is as small.
"""

from __future__ import annotations

import numpy as np

QUANTIZED = 128
_SMOOTH = 1e-4  # what an empty bin gets


def entropy_bounds(
    values: np.ndarray, mass: np.ndarray, ends: tuple[float, float], bins: int = 512, quantized: int = QUANTIZED
) -> tuple[float, float]:
    """The ends within `ends`. bins: of the histogram over -t..t with t the largest size; 128 leave no choice."""
    reach = max(-ends[0], ends[1])
    place = ((values + reach) * (bins / (2 * reach))).astype(np.int64).clip(0, bins - 1)
    counts = np.rint(np.bincount(place, mass, bins)).astype(np.int64)
    middle = bins // 2
    halves = range(quantized // 2, middle + 1)
    slices = [(middle - half, min(middle + half + 1, bins)) for half in halves]
    start, stop = slices[int(np.argmin([_divergence(counts, *ends_, quantized) for ends_ in slices]))]
    edges = np.linspace(-reach, reach, bins + 1)
    return max(ends[0], float(edges[start])), min(ends[1], float(edges[stop]))


def _divergence(counts: np.ndarray, start: int, stop: int, quantized: int) -> float:
    """Of what is kept, with the rest in its outermost bins, from the same with `quantized` different heights."""
    kept = counts[start:stop]
    wanted = kept.copy()
    wanted[0] += counts[:start].sum()
    wanted[-1] += counts[stop:].sum()
    size = len(kept) // quantized
    used = size * quantized
    heights = kept[:used].reshape(quantized, size).sum(1)
    heights[-1] += kept[used:].sum()
    full = (wanted[:used] != 0).reshape(quantized, size).sum(1)
    # Whole numbers, and every bin of a group alike, empty or not: so ONNX Runtime counts.
    level = np.where(full > 0, heights // np.maximum(full, 1), 0)
    shown = np.zeros(len(kept), np.int64)
    shown[:used] = np.repeat(level, size)
    p, q = _smoothed(wanted), _smoothed(shown)
    if p is None or q is None:
        return float("inf")
    p, q = p / p.sum(), q / q.sum()
    terms = p.astype(np.float64) * np.log(p.astype(np.float64) / q)
    return float(terms.astype(np.float32).sum())


def _smoothed(counts: np.ndarray) -> np.ndarray | None:
    """Empty bins get a little, taken from the others alike; None where that leaves one below nothing."""
    empty = counts == 0
    filled = len(counts) - int(empty.sum())
    if not filled:
        return None
    less = _SMOOTH * int(empty.sum()) / filled
    return None if less >= 1 else counts.astype(np.float32) + np.where(empty, _SMOOTH, -less).astype(np.float32)
