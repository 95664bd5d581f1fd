"""How well a candidate agrees with the original on the same inputs, without labels."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from edgesmith import intervals, metrics
from edgesmith.errors import UsageError
from edgesmith.results import Agreement, Interval
from edgesmith.tensors import Arrays
from edgesmith.verify.rearranged import elsewhere, paired, rearranged

NONE = Interval(math.nan, None, None)


def compare(target: str, reference: Arrays, candidate: Arrays, seed: int = 0) -> tuple[Agreement, ...]:
    """One record for each output of the original. Shape: (N, ...) arrays by output name, same N.

    Outputs are compared by name, a lone one with a lone one; what agrees only in another order is said to.

    Raises: UsageError when the original itself has no output or holds NaN: nothing could be judged by it.
    """
    if not reference:
        raise UsageError(f"compare {target} with the original", "the original has no outputs", "run it first")
    for name, array in reference.items():
        if not np.isfinite(array).all():
            raise UsageError(f"compare {target} with the original", f"its {name!r} holds NaN", "check the inputs")
    given = paired(reference, candidate)
    found = (_one(target, name, array, given.get(name), seed) for name, array in reference.items())
    return tuple(_ordered(one, reference[one.output], given.get(one.output), candidate) for one in found)


def _ordered(found: Agreement, reference: np.ndarray, own: np.ndarray | None, candidate: Arrays) -> Agreement:
    """The record with what is said of an order that differs; `candidate` holds all outputs by their own names."""
    other = elsewhere(found.output, reference, candidate) if len(candidate) > 1 else ""
    if own is None:
        given = f"its {other!r} agrees with it" if other else f"it has {', '.join(map(repr, candidate)) or 'none'}"
        words = f"{given}; give its outputs the original's names"
    elif other:
        words = f"its outputs are in another order: its {other!r} is the original's {found.output!r}"
    else:
        words = rearranged(reference, own)
    if not found.problem:
        return replace(found, rearranged=words)
    return replace(found, problem=f"{found.problem}; {words}" if words else found.problem)


def _one(target: str, name: str, reference: np.ndarray, candidate: np.ndarray | None, seed: int) -> Agreement:
    problem = _problem(name, reference, candidate)
    if candidate is None or problem or not len(reference):
        return Agreement(target, name, len(reference), None, NONE, NONE, NONE, NONE, NONE, problem)
    first, second = _rows(reference), _rows(candidate)
    cosines = metrics.cosine(first, second)
    return Agreement(
        target,
        name,
        len(first),
        _same_top1(first, second) if reference.ndim == 2 and reference.shape[1] > 1 else None,
        intervals.mean(cosines, seed),
        intervals.percentile(cosines, 0.01),
        _extreme(float(cosines.min()), lowest=True),
        _extreme(float(np.abs(first - second).max(initial=0.0)), lowest=False),
        _sqnr(first, second, seed),
    )


def _problem(name: str, reference: np.ndarray, candidate: np.ndarray | None) -> str:
    if candidate is None:
        return f"it has no output {name!r}"
    if candidate.shape != reference.shape:
        return f"{name!r} has shape {candidate.shape}, the original {reference.shape}"
    bad = int((~np.isfinite(_rows(candidate)).all(1)).sum())
    return f"{name!r} holds NaN or infinity in {bad} of {len(candidate)} samples" if bad else ""


def _rows(array: np.ndarray) -> np.ndarray:
    return np.asarray(array, np.float64).reshape(len(array), math.prod(array.shape[1:]))


def _same_top1(first: np.ndarray, second: np.ndarray) -> Interval:
    return intervals.wilson(int((first.argmax(1) == second.argmax(1)).sum()), len(first))


def _extreme(value: float, lowest: bool) -> Interval:
    # What was seen bounds the true extreme on one side only: no sample tells how bad an unseen input can be.
    return Interval(value, None, value) if lowest else Interval(value, value, None)


def _sqnr(first: np.ndarray, second: np.ndarray, seed: int) -> Interval:
    signal, noise = (first**2).sum(1), ((first - second) ** 2).sum(1)
    value, n = metrics.sqnr_db(signal.sum(), noise.sum()), len(first)
    if n < intervals.FEWEST_FOR_BOOTSTRAP:
        return Interval(value, None, None)
    rng = np.random.default_rng(seed)
    drawn = np.empty(intervals.DRAWS)
    for i in range(intervals.DRAWS):
        rows = rng.integers(0, n, n)
        drawn[i] = metrics.sqnr_db(signal[rows].sum(), noise[rows].sum())
    return intervals.from_draws(value, drawn)
