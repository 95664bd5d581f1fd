"""Whether an output that disagrees holds the original's numbers in another order: classes, channels, axes, outputs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from edgesmith import metrics
from edgesmith.tensors import Arrays

HEALED_DB = 15.0
GAIN_DB = 6.0
NEAR_DB = 40.0  # an output that is nearer than this is in order
FEWEST = 16  # numbers a channel: an order is found on one half of them and judged by the other
MOST_CHANNELS, MOST_COLUMNS = 2048, 1024
_SHOWN = 3


@dataclass(frozen=True)
class _Found:
    words: str
    db: float


def paired(reference: Arrays, candidate: Arrays) -> Arrays:
    """A candidate's outputs by the original's names: by name, and where both have but one it needs no name."""
    if len(reference) == 1 == len(candidate):
        return dict(zip(reference, candidate.values()))
    return {name: candidate[name] for name in reference if name in candidate}


def elsewhere(name: str, wanted: np.ndarray, candidate: Arrays) -> str:
    """Which other output of the candidate agrees with the original's `name`; "" where none does."""
    own = _likeness(wanted, candidate.get(name))
    found = {other: _likeness(wanted, array) for other, array in candidate.items() if other != name}
    best = max(found, key=lambda other: found[other], default="")
    return best if best and found[best] >= max(HEALED_DB, own + GAIN_DB) else ""


def rearranged(reference: np.ndarray, candidate: np.ndarray) -> str:
    """How the numbers of `candidate` were moved against the original's, in words; "" where that is not it.

    Shape: (N, ...) both; the shapes may differ by the order of their axes.
    """
    if candidate.ndim != reference.ndim or len(candidate) != len(reference) or not reference.size:
        return ""
    if not (np.isfinite(reference).all() and np.isfinite(candidate).all()):
        return ""
    if _likeness(reference, candidate) >= NEAR_DB:
        return ""
    found = [*_transposed(reference, candidate)]
    if candidate.shape == reference.shape:
        found += [one for axis in range(1, reference.ndim) if (one := _reordered(reference, candidate, axis))]
    return max(found, key=lambda one: one.db, default=_Found("", 0.0)).words


def _transposed(reference: np.ndarray, candidate: np.ndarray) -> Iterator[_Found]:
    own, straight = _likeness(reference, candidate), tuple(range(reference.ndim))
    for rest in permutations(straight[1:]):
        order = (0, *rest)
        turned = candidate.transpose(order)
        if order == straight or turned.shape != reference.shape or reference.size < FEWEST:
            continue
        db = _likeness(reference, turned)
        if db >= max(HEALED_DB, own + GAIN_DB):
            yield _Found(f"its axes are in another order: transposed by {order} it agrees ({db:.0f} dB)", db)


def _reordered(reference: np.ndarray, candidate: np.ndarray, axis: int) -> _Found | None:
    channels, columns = reference.shape[axis], reference.size // reference.shape[axis]
    if not 2 <= channels <= MOST_CHANNELS or columns < FEWEST:
        return None
    kept = np.unique(np.linspace(0, columns - 1, min(columns, MOST_COLUMNS)).astype(int))
    first, second = (np.moveaxis(a, axis, 0).reshape(channels, -1)[:, kept] for a in (reference, candidate))
    first, second = first.astype(np.float64), second.astype(np.float64)
    order = _matched(first[:, ::2], second[:, ::2])
    own, db = _db(first[:, 1::2], second[:, 1::2]), _db(first[:, 1::2], second[order][:, 1::2])
    if db < max(HEALED_DB, own + GAIN_DB):
        return None
    moved = np.flatnonzero(order != np.arange(channels))
    named = ", ".join(f"{place} is its {order[place]}" for place in moved[:_SHOWN])
    what = "entries" if reference.ndim == 2 else "channels" if axis == 1 else f"places along axis {axis}"
    more = ", ..." if len(moved) > _SHOWN else ""
    words = f"{len(moved)} of its {channels} {what} are in another order: the original's {named}{more}"
    return _Found(f"{words}; so ordered it agrees ({db:.0f} dB instead of {own:.0f})", db)


def _matched(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """For each row of `first` the row of `second` that is nearest, each taken once; the surest choose first."""
    distance = (first**2).sum(1)[:, None] + (second**2).sum(1)[None] - 2 * first @ second.T
    order = distance.argmin(1)
    if len(np.unique(order)) == len(order):
        return order
    taken = np.zeros(len(order), bool)
    for row in np.argsort(distance.min(1), kind="stable"):
        order[row] = next(place for place in np.argsort(distance[row], kind="stable") if not taken[place])
        taken[order[row]] = True
    return order


def _likeness(wanted: np.ndarray, given: np.ndarray | None) -> float:
    if given is None or given.shape != wanted.shape or not np.isfinite(given).all():
        return -math.inf
    return _db(wanted.astype(np.float64), given.astype(np.float64))


def _db(wanted: np.ndarray, given: np.ndarray) -> float:
    return metrics.sqnr_db(float((wanted**2).sum()), float(((wanted - given) ** 2).sum()))
