"""Point metrics of multi-label scores in numpy: average precision, precision, recall and F1; importance of photos.

Labels are (N, C): 1 there, 0 not there, -1 not annotated. What is not annotated is in no count. Scores only have to
rank: logits, probabilities and cosines give the same average precision.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgesmith.errors import UsageError

UNKNOWN = -1


def check_labels(labels: np.ndarray, scores: np.ndarray | None = None) -> None:
    """Raise UsageError unless labels are (N, C) of -1, 0 and 1, and scores, if given, of the same shape."""
    if labels.ndim != 2:
        raise UsageError("multi-label labels (N, C)", f"shape {labels.shape}", "give a column a class")
    if scores is not None and scores.shape != labels.shape:
        found = f"labels {labels.shape}, scores {scores.shape}"
        raise UsageError("scores of multi-label samples", found, "give a score a label, classes in the same order")
    strange = np.setdiff1d(labels, (UNKNOWN, 0, 1))
    if len(strange):
        found = f"values {strange[:5].tolist()}"
        raise UsageError("multi-label labels of -1, 0 and 1", found, "write 1 there, 0 not there, -1 not annotated")


@dataclass(frozen=True)
class Ranking:
    """The annotated labels of the usable classes, class by class, by falling score: all that AP needs.

    classes: the usable columns, those with a positive and a negative label. sample: of each entry its sample.
    ends: behind the last entry of each class. For each positive entry, by `hit`: its position, its class (numbered
    among the usable ones), `last` the last entry that scores as much, `last_hit` the last positive that does.
    """

    classes: np.ndarray
    sample: np.ndarray
    ends: np.ndarray
    hit: np.ndarray
    owner: np.ndarray
    last: np.ndarray
    last_hit: np.ndarray

    @staticmethod
    def of(scores: np.ndarray, labels: np.ndarray) -> Ranking:
        """Sort once. A score that is not finite ranks last. Shape: (N, C) twice. Raises: UsageError."""
        check_labels(labels, scores)
        usable = np.flatnonzero((labels == 1).any(0) & (labels == 0).any(0))
        nothing = np.zeros(0, np.int64)
        samples, hits, lasts, sizes = [nothing], [nothing], [nothing], [0]
        for column in usable:
            rows = np.flatnonzero(labels[:, column] != UNKNOWN)
            values = np.asarray(scores[rows, column], np.float64)
            falling = -np.where(np.isfinite(values), values, -np.inf)
            order = np.argsort(falling, kind="stable")
            hit = np.flatnonzero(labels[rows[order], column] == 1)
            tied = np.searchsorted(falling[order], falling[order][hit], side="right") - 1
            samples.append(rows[order])
            hits.append(sum(sizes) + hit)
            lasts.append(sum(sizes) + tied)
            sizes.append(len(rows))
        hit, last = np.concatenate(hits), np.concatenate(lasts)
        owner = np.repeat(np.arange(len(usable)), [len(part) for part in hits[1:]])
        last_hit = np.searchsorted(hit, last, side="right") - 1
        return Ranking(usable, np.concatenate(samples), np.cumsum(sizes)[1:], hit, owner, last, last_hit)

    @property
    def positives(self) -> np.ndarray:
        """How many positive labels each usable class has."""
        return np.bincount(self.owner, minlength=len(self.classes))

    def average_precision(self, weights: np.ndarray | None = None) -> np.ndarray:
        """AP of each usable class, each sample counted `weights` times: NaN where no positive or no negative is left.

        AP = sum over positives of (positives that score at least as high / all that do) / positives: not
        interpolated. Equal scores enter together, so the order of the samples does not matter (as in scikit-learn).
        Shape: weights (N,) -> (usable classes,).
        """
        if not len(self.classes):
            return np.zeros(0)
        count = np.ones(len(self.sample)) if weights is None else weights.astype(np.float64)[self.sample]
        hits, so_far = count[self.hit], np.cumsum(count)
        found = np.cumsum(hits)
        classes = len(self.classes)
        positives = np.bincount(self.owner, hits, classes)
        whole = np.diff(so_far[self.ends - 1], prepend=0.0)
        # Both sums run over all classes: what the classes in front add up to is taken away again.
        rank = so_far[self.last] - (np.cumsum(whole) - whole)[self.owner]
        right = found[self.last_hit] - (np.cumsum(positives) - positives)[self.owner]
        gained = np.bincount(self.owner, hits * _share(right, rank), classes)
        usable = (positives > 0) & (whole > positives)
        return np.where(usable, gained / np.where(usable, positives, 1.0), math.nan)


@dataclass(frozen=True)
class MeanAP:
    """mAP over the usable classes: each counted once, and each by its number of positives; NaN if there is none.

    per_class (C,): NaN where a class has no positive or no negative label; `skipped` is how many those are.
    """

    macro: float
    weighted: float
    per_class: np.ndarray
    skipped: int


def mean_ap(scores: np.ndarray, labels: np.ndarray) -> MeanAP:
    """Mean average precision of annotated labels. Shape: (N, C) twice. Raises: UsageError.

    Differs from what is often printed: "macro" is the plain mean over classes, "weighted" counts positives.
    """
    ranking = Ranking.of(scores, labels)
    values, positives = ranking.average_precision(), ranking.positives
    per_class = np.full(labels.shape[1], math.nan)
    per_class[ranking.classes] = values
    if not len(values):
        return MeanAP(math.nan, math.nan, per_class, labels.shape[1])
    weighted = float((values * positives).sum() / positives.sum())
    return MeanAP(float(values.mean()), weighted, per_class, labels.shape[1] - len(values))


@dataclass(frozen=True)
class Rates:
    """Precision, recall and F1: means over classes (cp, cr, cf1) and from pooled counts (op, orr, of1).

    cf1 is the harmonic mean of cp and cr. A class without a positive label is in none of the class means.
    """

    cp: float
    cr: float
    cf1: float
    op: float
    orr: float
    of1: float


def rates(predicted: np.ndarray, labels: np.ndarray) -> Rates:
    """CP, CR, CF1, OP, OR, OF1 of yes/no answers; an empty denominator gives 0. Shape: bool (N, C), (N, C)."""
    check_labels(labels, predicted)
    known = labels != UNKNOWN
    hits = (predicted & (labels == 1)).sum(0).astype(np.float64)
    said, there = (predicted & known).sum(0).astype(np.float64), (labels == 1).sum(0).astype(np.float64)
    some = there > 0
    if not some.any():
        return Rates(*[math.nan] * 6)
    cp, cr = float(_share(hits[some], said[some]).mean()), float(_share(hits[some], there[some]).mean())
    op, orr = float(_share(hits.sum(), said.sum())), float(_share(hits.sum(), there.sum()))
    return Rates(cp, cr, _f1(cp, cr), op, orr, _f1(op, orr))


def above(scores: np.ndarray, threshold: float) -> np.ndarray:
    """Which labels are predicted: score over the threshold, NaN never. Shape: (N, C) -> bool (N, C)."""
    return np.asarray(scores) > threshold


def top_k(scores: np.ndarray, labels: np.ndarray, k: int, threshold: float = -math.inf) -> np.ndarray:
    """The k highest annotated labels of each sample, those over the threshold; ties go to the lower class.

    Shape: (N, C) twice -> bool (N, C). Raises: UsageError for k below 1.
    """
    check_labels(labels, scores)
    if k < 1:
        raise UsageError("the k highest labels", f"k = {k}", "give a number from 1")
    usable = (labels != UNKNOWN) & np.isfinite(scores)
    values = np.where(usable, scores, -np.inf)
    chosen = np.zeros(labels.shape, bool)
    np.put_along_axis(chosen, np.argsort(-values, axis=1, kind="stable")[:, :k], True, axis=1)
    return chosen & usable & (values > threshold)


@dataclass(frozen=True)
class AtK:
    """Precision, recall and F1 at k from counts over all samples."""

    precision: float
    recall: float
    f1: float


def at_k(scores: np.ndarray, labels: np.ndarray, k: int) -> AtK:
    """P@k, R@k, F1@k: P = hits / predicted, R = hits / there, summed over all samples. Shape: (N, C) twice."""
    found = rates(top_k(scores, labels, k), labels)
    return AtK(found.op, found.orr, found.of1)


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.zeros_like(np.asarray(part, np.float64)), where=np.asarray(whole) > 0)


def _f1(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0


@dataclass(frozen=True)
class Importance:
    """Means over albums: average precision of the predicted ranking, and precision of its highest photos."""

    mean_ap: float
    precision: float
    albums: int


def importance(truth: Sequence[np.ndarray], predicted: Sequence[np.ndarray], share: float) -> Importance:
    """MAP@t% and P@t% of photo importance, t% = `share` of each album: one photo at least, rounded up.

    The important photos are the top t% by people's scores, with all that tie with the last of them; P@t% looks at as
    many of the predicted ranking. Predicted ties enter together. Shape: a (photos,) array an album, twice.
    Raises: UsageError for albums that do not pair or a share outside 0..1. Source: Wang et al. 2016, CUFED.
    """
    if not 0 < share <= 1 or len(truth) != len(predicted) or any(len(t) != len(p) for t, p in zip(truth, predicted)):
        found = f"share {share}, {len(truth)} and {len(predicted)} albums"
        raise UsageError("importance of photos", found, "give a share in 0..1 and a score a photo, twice")
    aps, precisions = [], []
    for given, guess in zip(truth, predicted):
        if not len(given):
            continue
        cut = np.sort(given)[::-1][math.ceil(share * len(given) - 1e-9) - 1]
        important = np.asarray(given) >= cut
        aps.append(_album_ap(np.asarray(guess, np.float64), important))
        most = np.argsort(-np.asarray(guess), kind="stable")[: int(important.sum())]
        precisions.append(float(important[most].mean()))
    if not aps:
        return Importance(math.nan, math.nan, 0)
    return Importance(float(np.mean(aps)), float(np.mean(precisions)), len(aps))


def _album_ap(guess: np.ndarray, important: np.ndarray) -> float:
    if important.all():
        return 1.0
    return float(Ranking.of(guess[:, None], important.astype(np.int64)[:, None]).average_precision()[0])
