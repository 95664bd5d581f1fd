"""Protocols of photo albums: the event from the first output, the importance of photos from the second.

"albums": arrays {"labels": (A,)}, "albums-multilabel": {"labels": (A, C) of 1, 0 and -1}; both {"mask": (A, S)} and,
where people said what matters, {"importance": (A, S), NaN where nobody did}. Outputs: logits (A, C), importance (A, S).
"""

from __future__ import annotations

import math

import numpy as np

from edgesmith import intervals
from edgesmith.multilabel_metrics import importance as importance_at
from edgesmith.results import Accuracy, Interval
from edgesmith.tensors import Arrays
from edgesmith.verify import multilabel, top1
from edgesmith.verify.protocol import EvaluationProtocol, Outputs, non_finite

SHARES = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3)  # CUFED's t%
SHOWN = 0.2


def judge_event(arrays: Arrays, outputs: Outputs, reference: str) -> tuple[Accuracy, ...]:
    """Accuracy, and mAP with the album's event as its only positive class; classes without albums are left out."""
    labels = arrays["labels"]
    found = top1.judge(arrays, outputs, reference)
    classes = outputs[reference].shape[1]
    one_hot = (labels[:, None] == np.arange(classes)).astype(np.int8)
    return (*found, *multilabel.judge({"labels": one_hot}, outputs, reference))


def judge_importance(arrays: Arrays, outputs: Outputs, reference: str) -> tuple[Accuracy, ...]:
    """MAP@20% against people's scores, where there are any, and the rank correlation with the original's importance.

    The other t% are in `extra`. Albums are drawn anew for the intervals; one of a single photo ranks nothing.
    """
    kept, truth = arrays["mask"] > 0, arrays.get("importance")
    rows: list[Accuracy] = []
    for name, output in outputs.items():
        bad = non_finite(output)
        if truth is not None:
            rows.append(_against_people(name, truth, kept, outputs, reference, bad))
        if name != reference:
            values = np.array([rank_correlation(a[k], b[k]) for a, b, k in zip(outputs[reference], output, kept)])
            values = values[~np.isnan(values)]
            nothing = Interval(math.nan, None, None)
            estimate = nothing if bad else intervals.mean(values)
            rows.append(Accuracy(name, "importance rank", estimate, None, 0 if bad else len(values), bad))
    return tuple(rows)


def _against_people(
    name: str, truth: np.ndarray, kept: np.ndarray, outputs: Outputs, reference: str, bad: dict[str, float]
) -> Accuracy:
    values = album_values(truth, outputs[name], kept, SHOWN)
    told = ~np.isnan(values)
    n = 0 if bad else int(told.sum())
    metric = f"importance MAP@{100 * SHOWN:.0f}%"
    if not n:
        return Accuracy(name, metric, Interval(math.nan, None, None), None, 0, bad)
    drop = None
    if name != reference:
        theirs = album_values(truth, outputs[reference], kept, SHOWN)
        drop = _not_narrower(intervals.mean((theirs - values)[told]), n)
    extra: dict[str, float] = {}
    for share in SHARES:
        pairs = [(t[use], o[use]) for t, o, use in zip(truth, outputs[name], kept & ~np.isnan(truth)) if use.sum() > 1]
        found = importance_at([t for t, _ in pairs], [o for _, o in pairs], share)
        extra |= {f"MAP@{100 * share:.0f}%": found.mean_ap, f"P@{100 * share:.0f}%": found.precision}
    return Accuracy(name, metric, _not_narrower(intervals.mean(values[told]), n), drop, n, extra)


def album_values(truth: np.ndarray, output: np.ndarray, kept: np.ndarray, share: float) -> np.ndarray:
    """AP of each album's ranking, NaN where it ranks nothing. Shape: (A, S) thrice -> (A,)."""
    found = np.full(len(truth), math.nan)
    for row, use in enumerate(kept & ~np.isnan(truth)):
        if use.sum() > 1:
            found[row] = importance_at([truth[row, use]], [output[row, use]], share).mean_ap
    return found


def _not_narrower(interval: Interval, n: int) -> Interval:
    """Not narrower than what n albums can tell at all: z2 / (n + z2), as for n right answers (Wilson)."""
    least = intervals.Z95**2 / (n + intervals.Z95**2)
    return intervals.hull(interval, Interval(interval.value, interval.value - least, interval.value + least))


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's rho, ties at their mean rank; NaN for fewer than two values, or where all values of one are equal."""
    if len(first) < 2:
        return math.nan
    a, b = _ranks(first), _ranks(second)
    spread = a.std() * b.std()
    return float(((a - a.mean()) * (b - b.mean())).mean() / spread) if spread > 0 else math.nan


def _ranks(values: np.ndarray) -> np.ndarray:
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - (count - 1) / 2)[place.reshape(-1)]


ALBUMS = EvaluationProtocol("top1", lambda arrays: (len(arrays["labels"]), "C"), judge_event, judge_importance)
ALBUMS_MULTILABEL = EvaluationProtocol(
    "mAP", lambda arrays: tuple(arrays["labels"].shape), multilabel.judge, judge_importance
)
