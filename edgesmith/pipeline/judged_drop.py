"""How much worse one target's outputs are than the original's on held-out samples, by labels or by agreement."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edgesmith.data.split import Evaluation
from edgesmith.pipeline.accuracy_control import Found
from edgesmith.pipeline.judge import REFERENCE
from edgesmith.results import Accuracy, Agreement, Interval
from edgesmith.tensors import Arrays
from edgesmith.verify import accuracy, agreement

NONE = Interval(math.nan, None, None)


def metric_of(evaluation: Evaluation, classifier: bool) -> str:
    """What a drop is one of: the protocol's headline; without labels top-1 agreement of a classifier, else cosine."""
    return accuracy.headline(evaluation.protocol) or ("agreement" if classifier else "cosine")


def drop_of(evaluation: Evaluation, name: str, reference: Arrays, candidate: Arrays, classifier: bool) -> Found:
    """The paired drop of `name` against the original, as a share (0.01 is one point). Shape: outputs by name, (N, ...).

    Without labels it is 1 - agreement or 1 - mean cosine, of the output where that is worst.
    """
    metric, outputs = metric_of(evaluation, classifier), {REFERENCE: reference, name: candidate}
    if accuracy.headline(evaluation.protocol):
        rows = accuracy.judge_all(evaluation.protocol, evaluation.arrays, outputs, REFERENCE)
        return _by_labels(metric, [row for row in rows if row.target == name and row.metric == metric])
    return _by_agreement(metric, agreement.compare(name, reference, candidate))


def _by_labels(metric: str, rows: Sequence[Accuracy]) -> Found:
    why = "no labelled samples that tell"
    for row in rows:
        if row.extra.get("non_finite"):
            return Found(metric, NONE, row.n, "its outputs hold NaN or infinity", "fail")
        if row.drop is not None and row.n:
            return Found(metric, row.drop, row.n)
        why = row.untold or why
    return Found(metric, NONE, 0, why, "not_measured")


def _by_agreement(metric: str, rows: Sequence[Agreement]) -> Found:
    found = []
    for row in rows:
        if row.problem:
            return Found(metric, NONE, row.n, row.problem, "fail")
        likeness = row.top1 if metric == "agreement" and row.top1 is not None else row.cosine
        found.append(Found(metric, _lost(likeness), row.n))
    return max(found, key=lambda one: one.drop.value)


def _lost(likeness: Interval) -> Interval:
    low, high = (None if end is None else 1 - end for end in (likeness.high, likeness.low))
    return Interval(1 - likeness.value, low, high, likeness.confidence)
