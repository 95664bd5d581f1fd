"""Palettes: the best table of a few numbers for many, by dynamic programming; the same result on every run."""

from __future__ import annotations

import numpy as np

from edgesmith.errors import UsageError


def palette(values: np.ndarray, entries: int) -> tuple[np.ndarray, np.ndarray]:
    """k-means of single numbers: the table with the least squared error to `values`, and the entry of each value.

    Shape: values any with N elements -> (entries,) ascending, (N,) uint8. Fewer distinct values than entries are kept
    exactly, and the largest is repeated. Takes O(entries n log n) for n distinct values.
    Raises: UsageError for values that are not finite.
    Source: Wang and Song, "Ckmeans.1d.dp: optimal k-means clustering in one dimension by dynamic programming",
    The R Journal 3(2), 2011, eq. 1; each row by divide and conquer, as the best border never moves back.
    """
    flat = np.asarray(values, np.float64).ravel()
    if not np.isfinite(flat).all():
        raise UsageError("a palette of weights", "NaN or infinite weights", "train the model again, or repair them")
    distinct, of, counts = np.unique(flat, return_inverse=True, return_counts=True)
    if len(distinct) <= entries:
        return np.append(distinct, np.full(entries - len(distinct), distinct[-1])), of.astype(np.uint8)
    borders = _borders(_moments(distinct, counts), entries)
    cluster = np.repeat(np.arange(entries), np.diff(borders))
    table = np.bincount(cluster, distinct * counts) / np.bincount(cluster, counts)
    return table, cluster[of].astype(np.uint8)


def _moments(distinct: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Sums over the first i values of 1, x and x squared, around the mean for the digits' sake. Shape: (3, n + 1)."""
    x = distinct - np.average(distinct, weights=counts)
    return np.concatenate([np.zeros((3, 1)), np.cumsum(counts * np.stack([np.ones_like(x), x, x * x]), axis=1)], axis=1)


def _error(moments: np.ndarray, first: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Squared distances to their mean of the values first..end-1."""
    count, total, squares = moments[:, end] - moments[:, first]
    return np.maximum(squares - total**2 / np.maximum(count, 1), 0.0)


def _borders(moments: np.ndarray, entries: int) -> np.ndarray:
    """Where each cluster begins, and the end of the last. Shape: (entries + 1,)."""
    size = moments.shape[1] - 1
    error = _error(moments, np.zeros(size + 1, int), np.arange(size + 1))
    begins = []
    for _ in range(1, entries):
        error, begin = _one_more(moments, error)
        begins.append(begin)
    borders = [size]
    for begin in reversed(begins):
        borders.append(int(begin[borders[-1]]))
    return np.array([0, *reversed(borders)])


def _one_more(moments: np.ndarray, before: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The least error of the first i values with one cluster more, and where that one begins. Shape: (n + 1,) each."""
    size = len(before) - 1
    error, begin = np.zeros(size + 1), np.zeros(size + 1, int)
    step = 1 << size.bit_length()
    while step:
        ends = np.arange(step, size + 1, 2 * step)
        if len(ends):
            low = begin[ends - step]
            beyond = ends + step
            high = np.minimum(np.where(beyond <= size, begin[np.minimum(beyond, size)], ends - 1), ends - 1)
            error[ends], begin[ends] = _least(moments, before, ends, low, high)
        step //= 2
    return error, begin


def _least(
    moments: np.ndarray, before: np.ndarray, ends: np.ndarray, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """For each end, the best begin among low..high and its error: all ranges laid out in one row."""
    counts = high - low + 1
    starts = np.cumsum(counts) - counts
    begins = np.arange(counts.sum()) + np.repeat(low - starts, counts)
    errors = before[begins] + _error(moments, begins, np.repeat(ends, counts))
    best = np.minimum.reduceat(errors, starts)
    hits = np.flatnonzero(errors == np.repeat(best, counts))
    first = hits[np.searchsorted(hits, starts)]
    return best, begins[first]
