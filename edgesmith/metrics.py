"""Point metrics in numpy: top-1, cosine, k-fold verification, TAR at FAR. Their intervals are in intervals.py."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from edgesmith.errors import UsageError


def correct(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Which samples are right; a row with NaN or infinity is wrong. Shape: (N, C), (N,) -> bool (N,)."""
    if logits.ndim != 2 or len(logits) != len(labels):
        found = f"logits {logits.shape}, labels {np.shape(labels)}"
        raise UsageError("top-1 needs logits (N, C) and labels (N,)", found, "give one row of logits a label")
    if not len(logits):
        return np.zeros(0, bool)
    return np.isfinite(logits).all(1) & (logits.argmax(1) == np.asarray(labels))


def top1(logits: np.ndarray, labels: np.ndarray) -> float:
    """Share of samples whose largest logit is the label's; NaN for no samples. Shape: (N, C), (N,)."""
    right = correct(logits, labels)
    return float(right.mean()) if len(right) else math.nan


def unit(x: np.ndarray) -> np.ndarray:
    """Rows of length 1; a zero row stays zero. Shape: (N, ...) -> float64 (N, d)."""
    flat = np.asarray(x, np.float64).reshape(len(x), -1)
    norm = np.linalg.norm(flat, axis=1, keepdims=True)
    return flat / np.where(norm == 0, 1.0, norm)


def flip_embedding(outputs: np.ndarray) -> np.ndarray:
    """Unit vectors of f(x) + f(mirrored x). Shape: (2N, d), N plain rows then N mirrored ones -> (N, d)."""
    if len(outputs) % 2:
        found = f"{len(outputs)} rows"
        raise UsageError("outputs of N images and their N mirror images", found, "append the mirror images")
    plain, mirrored = np.split(np.asarray(outputs, np.float64), 2)
    return unit(plain + mirrored)


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cosine of row i of `a` and row i of `b`; two zero rows count as equal. Shape: (N, ...) twice -> (N,)."""
    left, right = unit(a), unit(b)
    both_zero = ~left.any(1) & ~right.any(1)
    return np.where(both_zero, 1.0, np.clip((left * right).sum(1), -1.0, 1.0))


@dataclass(frozen=True)
class CosineStats:
    """Mean, 1st percentile and minimum of a set of cosines; all NaN for an empty set."""

    mean: float
    p1: float
    min: float


def cosine_stats(values: np.ndarray) -> CosineStats:
    """Summary of cosines. Shape: (N,)."""
    if not len(values):
        return CosineStats(math.nan, math.nan, math.nan)
    return CosineStats(float(values.mean()), float(np.quantile(values, 0.01)), float(values.min()))


def best_threshold(scores: np.ndarray, same: np.ndarray) -> float:
    """The threshold t of best accuracy of "same when score >= t", halfway between two scores.

    Among equally good ones the middle is taken. Shape: (P,), bool (P,).
    """
    order = np.argsort(scores, kind="stable")
    ranked, is_same = np.asarray(scores, np.float64)[order], np.asarray(same, bool)[order]
    # Right answers when the lowest k pairs are called different: different ones below, same ones above.
    right = np.concatenate([[0], np.cumsum(~is_same)]) + is_same.sum() - np.concatenate([[0], np.cumsum(is_same)])
    allowed = np.concatenate([[True], ranked[1:] > ranked[:-1], [True]])  # tied scores cannot be parted
    best = np.flatnonzero(allowed & (right == right[allowed].max()))
    cut = int(best[len(best) // 2])
    if cut == 0:
        return float(ranked[0])
    if cut == len(ranked):
        return float(np.nextafter(ranked[-1], np.inf))
    middle = (ranked[cut - 1] + ranked[cut]) / 2
    return float(middle if middle > ranked[cut - 1] else ranked[cut])


@dataclass(frozen=True)
class Folds:
    """k-fold verification: accuracy and threshold of each fold, and which pairs were judged rightly (P,)."""

    accuracy: tuple[float, ...]
    thresholds: tuple[float, ...]
    correct: np.ndarray

    @property
    def mean(self) -> float:
        return float(np.mean(self.accuracy))

    @property
    def std(self) -> float:
        return float(np.std(self.accuracy))


def k_fold(scores: np.ndarray, same: np.ndarray, fold: np.ndarray) -> Folds:
    """Each fold judged at the threshold of best accuracy on the other folds, folds as given.

    Shape: (P,) each. Raises: UsageError for fewer than two folds.
    Source: the LFW protocol (Huang et al. 2007); thresholds from the data, not from a grid.
    """
    names = np.unique(fold)
    if len(names) < 2:
        raise UsageError("k-fold verification", f"{len(names)} fold(s)", "give pairs in at least two folds")
    right, accuracy, thresholds = np.zeros(len(scores), bool), [], []
    for name in names:
        inside = fold == name
        threshold = best_threshold(scores[~inside], same[~inside])
        right[inside] = (scores[inside] >= threshold) == same[inside]
        accuracy.append(float(right[inside].mean()))
        thresholds.append(threshold)
    return Folds(tuple(accuracy), tuple(thresholds), right)


@dataclass(frozen=True)
class Impostors:
    """The highest scores of pairs of different people, falling, with the two people of each.

    total: how many such pairs there are; those not kept score no higher than the last one kept.
    """

    scores: np.ndarray
    first: np.ndarray
    second: np.ndarray
    total: int

    def allowed(self, far: float) -> int:
        """How many may be accepted at this false accept rate."""
        return math.floor(far * self.total + 1e-9)

    def bar(self, far: float) -> float:
        """Accept a score only above this one: the false accept rate is then at most `far`."""
        allowed = self.allowed(far)
        if allowed >= self.total:
            return -math.inf
        if allowed >= len(self.scores):
            raise UsageError(f"FAR {far}", f"only {len(self.scores)} scores were kept", "keep more of them")
        return float(self.scores[allowed])

    def weighted_bar(self, far: float, weights: np.ndarray, total: float) -> float:
        """As `bar`, each pair counted `weights` times, of `total`; cautious where the kept ones run out."""
        position = int(np.searchsorted(np.cumsum(weights), far * total + 1e-9, side="right"))
        if position < len(self.scores):
            return float(self.scores[position])
        return -math.inf if len(self.scores) == self.total or not len(self.scores) else float(self.scores[-1])


@dataclass(frozen=True)
class Operating:
    """TAR at the largest false accept rate that does not exceed the asked one; accept score >= threshold."""

    tar: float
    far: float
    threshold: float


def impostors_of(scores: np.ndarray, first: np.ndarray, second: np.ndarray) -> Impostors:
    """All given pairs of different people. Shape: (P,) each."""
    order = np.argsort(-scores, kind="stable")
    return Impostors(scores[order], first[order], second[order], len(scores))


def cross_person(
    embeddings: np.ndarray, person: np.ndarray, keep: int, block: int = 512, probes: np.ndarray | None = None
) -> Impostors:
    """The `keep` highest of all pairs of different people: exact, in blocks, memory O(block * N + keep).

    probes: other embeddings of the same pictures, for the later one of each pair.
    Shape: unit rows (N, d), (N,) people numbered from 0.
    """
    probes = embeddings if probes is None else probes
    scores, first, second, total = np.zeros(0), np.zeros(0, np.int64), np.zeros(0, np.int64), 0
    for start in range(0, len(embeddings), block):
        rows = np.arange(start, min(start + block, len(embeddings)))
        similar = embeddings[rows] @ probes[start:].T
        columns = np.arange(start, len(embeddings))
        different = (columns[None, :] > rows[:, None]) & (person[rows][:, None] != person[columns][None, :])
        total += int(different.sum())
        floor = scores.min() if len(scores) >= keep else -np.inf
        i, j = np.nonzero(different & (similar >= floor))
        scores = np.concatenate([scores, similar[i, j]])
        first, second = np.concatenate([first, person[rows[i]]]), np.concatenate([second, person[columns[j]]])
        if len(scores) > keep:
            top = np.argpartition(-scores, keep - 1)[:keep]
            scores, first, second = scores[top], first[top], second[top]
    order = np.argsort(-scores, kind="stable")
    return Impostors(scores[order], first[order], second[order], total)


def tar_at_far(genuine: np.ndarray, impostors: Impostors, far: float) -> Operating:
    """The largest TAR whose false accept rate is at most `far` (not the ROC point nearest to it).

    Shape: genuine (G,). Ties with the first rejected impostor are rejected, so the rate is never exceeded.
    """
    bar = impostors.bar(far)
    accepted = int((impostors.scores > bar).sum()) if bar > -math.inf else impostors.total
    tar = float((genuine > bar).mean()) if len(genuine) else math.nan
    return Operating(tar, accepted / impostors.total if impostors.total else math.nan, float(np.nextafter(bar, np.inf)))


def sqnr_db(signal: float, noise: float) -> float:
    """Signal to quantization noise from two sums of squares, in dB; held within +-200 so that it fits in JSON."""
    if noise <= 0 or signal <= 0:
        return 200.0 if noise <= 0 else -200.0
    return float(np.clip(10 * math.log10(signal / noise), -200.0, 200.0))
