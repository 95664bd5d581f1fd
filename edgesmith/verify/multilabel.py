"""Protocol "multilabel": arrays {"labels": (N, C) of 1, 0 and -1 (not annotated)}, outputs logits (N, C)."""

from __future__ import annotations

import math

import numpy as np

from edgesmith import intervals
from edgesmith import multilabel_metrics as metrics
from edgesmith.results import Accuracy, Interval
from edgesmith.tensors import Arrays
from edgesmith.verify.protocol import EvaluationProtocol, Outputs, non_finite

THRESHOLD = 0.0  # of a logit: probability 0.5
WORK = 10**8  # label ranks looked at by the bootstrap of one target: large data get fewer draws
FEWEST_DRAWS = 200


def judge(arrays: Arrays, outputs: Outputs, reference: str) -> tuple[Accuracy, ...]:
    """mAP over classes, with an interval and a paired drop from drawing images anew; also CF1, OF1 and their like.

    A class without a positive or without a negative label is left out and counted in extra["classes_skipped"]. If
    that leaves none, n = 0.
    """
    labels = arrays["labels"]
    rankings = {name: metrics.Ranking.of(output, labels) for name, output in outputs.items()}
    draws = {name: _draws(ranking, len(labels)) for name, ranking in rankings.items()}
    points = {name: metrics.mean_ap(output, labels).macro for name, output in outputs.items()}
    n = len(labels) if len(rankings[reference].classes) else 0
    rows = []
    for name, output in outputs.items():
        extra = non_finite(output) | _others(output, labels)
        drop = None
        if name != reference and n:
            difference = draws[reference] - draws[name]
            drop = _at_least(intervals.from_draws(points[reference] - points[name], difference), n)
        rows.append(Accuracy(name, "mAP", _estimate(points[name], draws[name], n), drop, n, extra))
    return tuple(rows)


def _draws(ranking: metrics.Ranking, images: int) -> np.ndarray:
    """mAP of the same draws of images for every target, so that differences are paired. Shape: -> (draws,)."""
    if not len(ranking.classes):
        return np.zeros(0)
    count = max(FEWEST_DRAWS, min(intervals.DRAWS, WORK // len(ranking.sample)))
    return intervals.over_people(lambda drawn: _mean(ranking.average_precision(drawn)), images, draws=count)


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan


def _estimate(value: float, draws: np.ndarray, n: int) -> Interval:
    """Drawing anew raises AP as much as having few images does: the draws are reflected, which takes that back.

    Source: the basic interval of Davison and Hinkley 1997, Bootstrap Methods, 5.2.
    """
    if not n:
        return Interval(math.nan, None, None)
    found = _at_least(intervals.from_draws(value, 2 * value - draws), n)
    low, high = found.low, found.high
    return Interval(value, None if low is None else max(0.0, low), None if high is None else min(1.0, high))


def _at_least(interval: Interval, n: int) -> Interval:
    """Not narrower than what n images can tell at all: z2 / (n + z2), as for n right answers (Wilson)."""
    if interval.low is None or interval.high is None:
        return interval
    least = intervals.Z95**2 / (n + intervals.Z95**2)
    return Interval(
        interval.value, min(interval.low, interval.value - least), max(interval.high, interval.value + least)
    )


def _others(scores: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    over = metrics.rates(metrics.above(scores, THRESHOLD), labels)
    top = metrics.rates(metrics.top_k(scores, labels, 3), labels)
    found = metrics.mean_ap(scores, labels)
    named = {
        "mAP weighted by positives": found.weighted,
        "CP": over.cp, "CR": over.cr, "CF1": over.cf1, "OP": over.op, "OR": over.orr, "OF1": over.of1,
        "top-3 CF1": top.cf1, "top-3 OF1": top.of1,
        "classes_skipped": float(found.skipped),
    }  # fmt: skip
    return {name: value for name, value in named.items() if not math.isnan(value)}


MULTILABEL = EvaluationProtocol("mAP", lambda arrays: tuple(arrays["labels"].shape), judge)
