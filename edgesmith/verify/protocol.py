"""What an evaluation protocol is: the question that labelled data ask of a model's outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from edgesmith import intervals
from edgesmith.results import Accuracy
from edgesmith.tensors import Arrays

Outputs = Mapping[str, np.ndarray]
Judge = Callable[[Arrays, Outputs, str], tuple[Accuracy, ...]]


@dataclass(frozen=True)
class EvaluationProtocol:
    """One row of PROTOCOLS; a data set names it in Evaluation.protocol and brings the arrays it wants.

    headline: the metric that limits.accuracy_drop and the main column of a report mean. shape(arrays): what the first
    output of every target must have, a word for an axis that is free: (1000, "d").
    judge(arrays, outputs, reference): the metrics of every target, each drop against `reference`, whose own is None;
    a metric the data cannot resolve has n = 0, rows with NaN are counted in extra["non_finite"]. It is called with
    outputs of the promised shape, and with the reference among them. second: the same for the second output of a model
    that has one, whatever its shape.
    """

    headline: str
    shape: Callable[[Arrays], tuple[int | str, ...]] | None
    judge: Judge
    second: Judge | None = None


def _nothing(arrays: Arrays, outputs: Outputs, reference: str) -> tuple[Accuracy, ...]:
    return ()


# Samples without labels: only whether a target agrees with the original can be told (agreement.py).
AGREEMENT = EvaluationProtocol("", None, _nothing)


def non_finite(output: np.ndarray) -> dict[str, float]:
    """How many rows hold NaN or infinity, as an `extra`; empty if none does. Shape: (N, ...)."""
    bad = int((~np.isfinite(output).all(axis=tuple(range(1, output.ndim)))).sum())
    return {"non_finite": float(bad)} if bad else {}


def mcnemar(first: np.ndarray, second: np.ndarray) -> float:
    """McNemar's p-value of two sets of right (True) and wrong answers to the same questions. Shape: bool (N,) twice."""
    return intervals.mcnemar(int((first & ~second).sum()), int((~first & second).sum()))
