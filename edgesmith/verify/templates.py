"""Protocol "templates", 1:1 verification (IJB-B, IJB-C): sets of faces pooled into one vector, pairs of them scored.

arrays: template (N,), media (N,), detector (N,), pairs (P, 2) of template ids, same (P,), flags (3,) bool: norm,
detector, flip; outputs: embeddings (2N, d) of N faces, then of their N mirror images.

Source: the protocol of Whitelam et al. 2017 and Maze et al. 2018 in the form of InsightFace's evaluation script.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edgesmith import intervals, metrics
from edgesmith.data.template_lists import TemplateLists
from edgesmith.errors import UsageError
from edgesmith.results import Accuracy, Interval
from edgesmith.tensors import Arrays
from edgesmith.verify.protocol import EvaluationProtocol, Outputs, non_finite

FARS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
DRAWS = 200  # of the bootstrap; one costs a pass over all pairs
NOTHING = Interval(math.nan, None, None)


@dataclass(frozen=True)
class Flags:
    """What enters a face's vector; each changes the result by about a point at low rates, so it is always reported.

    norm: its own length, else it is normalised first. detector: times the detector's score. flip: plus the embedding
    of the mirror image.
    """

    norm: bool = True
    detector: bool = True
    flip: bool = True

    def __str__(self) -> str:
        return f"N{self.norm:d}D{self.detector:d}F{self.flip:d}"


@dataclass(frozen=True)
class Pooled:
    """One unit vector a template, templates in rising order. Shape: ids (T,), vectors (T, d)."""

    ids: np.ndarray
    vectors: np.ndarray


def pool(outputs: np.ndarray, lists: TemplateLists, flags: Flags = Flags(), block: int = 8192) -> Pooled:
    """Pool faces: the mean over each medium of a template, the sum over its media, normalised.

    Shape: outputs (2N, d), N faces then their N mirror images. Memory: block * d beside the templates' vectors.
    Raises: UsageError for another number of rows, or NaN.
    """
    count = len(lists.template)
    if outputs.ndim != 2 or len(outputs) != 2 * count:
        raise UsageError(f"outputs of {count} faces and their mirror images", f"{outputs.shape}", "run it on all")
    ids, row_of = np.unique(lists.template, return_inverse=True)
    weights = _media_weights(lists) * (lists.detector if flags.detector else 1.0)
    order = np.argsort(row_of, kind="stable")
    total = np.zeros((len(ids), outputs.shape[1]))
    for start in range(0, count, block):
        rows = order[start : start + block]
        vectors = np.asarray(outputs[rows], np.float64)
        if flags.flip:
            vectors = vectors + outputs[count + rows]
        if not np.isfinite(vectors).all():
            raise UsageError("pool faces", "their embeddings hold NaN", "check the inputs and the model")
        vectors = (vectors if flags.norm else metrics.unit(vectors)) * weights[rows, None]
        found, begins = np.unique(row_of[rows], return_index=True)
        total[found] += np.add.reduceat(vectors, begins)  # a template may go on in the next block
    return Pooled(ids, metrics.unit(total))


def _media_weights(lists: TemplateLists) -> np.ndarray:
    """1 / number of faces of the same medium in the same template: sums then are sums of means. Shape: (N,)."""
    both = np.stack([lists.template, lists.media], 1)
    _, group, counts = np.unique(both, axis=0, return_inverse=True, return_counts=True)
    return 1.0 / counts[group.reshape(-1)]


def pair_scores(pooled: Pooled, pairs: np.ndarray, block: int = 100_000) -> np.ndarray:
    """Cosine of each pair of templates. Shape: (P, 2) ids -> (P,). Memory: 2 * block * d beside the scores.

    Raises: UsageError for a template that was not pooled.
    """
    scores = np.empty(len(pairs))
    for start in range(0, len(pairs), block):
        rows = _rows(pooled.ids, pairs[start : start + block])
        first, second = pooled.vectors[rows[:, 0]], pooled.vectors[rows[:, 1]]
        scores[start : start + block] = np.einsum("nd,nd->n", first, second)
    return scores


def _rows(ids: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    rows = np.searchsorted(ids, wanted).clip(0, len(ids) - 1)
    if (ids[rows] != wanted).any():
        strangers = np.setdiff1d(wanted, ids)[:3].tolist()
        raise UsageError("score pairs of templates", f"no faces of {strangers}", "give lists that belong together")
    return rows


@dataclass(frozen=True)
class Curve:
    """The ROC curve, rising, first point (0, 0), points on straight stretches left out. Shape: (K,) each."""

    far: np.ndarray
    tar: np.ndarray
    thresholds: np.ndarray

    def nearest(self, far: float) -> metrics.Operating:
        """The point whose false accept rate is nearest to `far`, which it may exceed; of several, the highest TAR.

        This is how published tables of IJB-B and IJB-C are read off; `metrics.tar_at_far` never exceeds the rate.
        """
        distance = np.abs(self.far - far)
        best = int(np.flatnonzero(distance == distance.min())[-1])
        return metrics.Operating(float(self.tar[best]), float(self.far[best]), float(self.thresholds[best]))


def curve(scores: np.ndarray, same: np.ndarray) -> Curve:
    """The ROC curve with one point a distinct score, thinned as scikit-learn's roc_curve does. Shape: (P,) twice."""
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))  # tied scores are accepted together
    accepted = np.cumsum(same[order])[last]
    false = last + 1 - accepted
    if len(last) > 2:
        bends = (np.diff(false, 2) != 0) | (np.diff(accepted, 2) != 0)
        kept = np.concatenate([[True], bends, [True]])
        accepted, false, last = accepted[kept], false[kept], last[kept]
    tar, far = accepted / max(1, same.sum()), false / max(1, (~same).sum())
    return Curve(np.append(0.0, far), np.append(0.0, tar), np.append(np.inf, ranked[last]))


def judge(
    lists: TemplateLists,
    outputs: Mapping[str, np.ndarray],
    reference: str,
    flags: Flags = Flags(),
    fars: tuple[float, ...] = FARS,
    draws: int = DRAWS,
) -> tuple[Accuracy, ...]:
    """TAR of every target at each false accept rate; `drop` against `reference`, whose own drop is None.

    Metrics "template_tar@1e-4" and so on, at a rate of at most the asked one; extra has threshold, far, the official
    reading (nearest_tar, nearest_far) and the flags. A rate that allows no false accept has n = 0. Intervals draw
    templates (pairs share them); people are not in the lists, so several templates of one person count as independent.
    A target whose embeddings hold NaN has no rates; extra["non_finite"] counts its rows.
    Shape: outputs (2N, d) each, N faces then their mirror images. Raises: UsageError.
    """
    if reference not in outputs:
        raise UsageError(f"drop against {reference}", f"outputs of {sorted(outputs)}", "run the reference too")
    if lists.same.all() or not lists.same.any():
        raise UsageError("verify templates", "pairs of one kind only", "give genuine and impostor pairs")
    names = [reference, *(name for name in outputs if name != reference)]
    found: dict[str, list[Accuracy]] = {}
    baseline: list[_Answer] = []
    for name in names:
        if name != reference and (bad := non_finite(outputs[name])):
            found[name] = [Accuracy(name, row.metric, NOTHING, None, row.n, bad) for row in found[reference]]
            continue
        answers = _answers(lists, pool(outputs[name], lists, flags), flags, fars, draws)
        baseline = baseline or answers
        found[name] = [_row(name, answer, None if name == reference else b) for answer, b in zip(answers, baseline)]
    return tuple(row for name in outputs for row in found[name])


@dataclass(frozen=True)
class _Answer:
    """One rate of one target: which genuine pairs are accepted, and the bootstrap's TARs."""

    metric: str
    accepted: np.ndarray
    draws: np.ndarray
    extra: Mapping[str, float]


def _answers(lists: TemplateLists, pooled: Pooled, flags: Flags, fars: tuple[float, ...], draws: int) -> list[_Answer]:
    scores = pair_scores(pooled, lists.pairs)
    rows = _rows(pooled.ids, lists.pairs)
    impostors = metrics.impostors_of(scores[~lists.same], *rows[~lists.same].T)
    genuine, ends = scores[lists.same], rows[lists.same]
    whole = curve(scores, lists.same)
    drawn = _draws(genuine, ends, impostors, fars, len(pooled.ids), draws)
    shared = {"norm": float(flags.norm), "detector": float(flags.detector), "flip": float(flags.flip)}
    found = []
    for far, tars in zip(fars, drawn.T):
        metric, allowed = f"template_tar@{_short(far)}", impostors.allowed(far)
        extra = {**shared, "impostor_pairs": float(impostors.total), "allowed": float(allowed)}
        if allowed < 1:
            found.append(_Answer(metric, np.zeros(0, bool), np.zeros(0), extra))
            continue
        point, near = metrics.tar_at_far(genuine, impostors, far), whole.nearest(far)
        extra |= {"threshold": point.threshold, "far": point.far, "nearest_tar": near.tar, "nearest_far": near.far}
        found.append(_Answer(metric, genuine >= point.threshold, tars, extra))
    return found


def _draws(
    genuine: np.ndarray,
    ends: np.ndarray,
    impostors: metrics.Impostors,
    fars: tuple[float, ...],
    templates: int,
    draws: int,
) -> np.ndarray:
    """TAR at each rate when templates are drawn with replacement, the same draws for every target.

    Shape: (draws, rates).
    """
    rng, even = np.random.default_rng(0), np.full(templates, 1.0 / templates)
    found = np.full((draws, len(fars)), math.nan)
    bars = np.append(impostors.scores, -math.inf)
    for row in range(draws):
        drawn = rng.multinomial(templates, even).astype(np.float64)
        total = np.cumsum(intervals.pair_weights(drawn, impostors.first, impostors.second))
        weights = intervals.pair_weights(drawn, ends[:, 0], ends[:, 1])
        if total[-1] and weights.sum():
            places = np.searchsorted(total, np.array(fars) * total[-1] + 1e-9, side="right")
            found[row] = [(weights * (genuine > bar)).sum() / weights.sum() for bar in bars[places]]
    return found


def _row(target: str, answer: _Answer, baseline: _Answer | None) -> Accuracy:
    n = len(answer.accepted)
    if not n:
        return Accuracy(target, answer.metric, NOTHING, None, 0, answer.extra)
    value = float(answer.accepted.mean())
    # Pair-wise intervals guard against claims from few pairs, where every draw gives the same.
    estimate = intervals.hull(
        intervals.from_draws(value, answer.draws), intervals.wilson(int(answer.accepted.sum()), n)
    )
    if baseline is None:
        return Accuracy(target, answer.metric, estimate, None, n, answer.extra)
    drop = intervals.from_draws(float(baseline.accepted.mean()) - value, baseline.draws - answer.draws)
    drop = intervals.hull(drop, intervals.score_drop(baseline.accepted, answer.accepted))
    return Accuracy(target, answer.metric, estimate, drop, n, answer.extra)


def _short(far: float) -> str:
    """1e-4 rather than 0.0001 or 1e-04."""
    mantissa, _, exponent = f"{far:.15e}".partition("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def _judge_arrays(arrays: Arrays, outputs: Outputs, reference: str) -> tuple[Accuracy, ...]:
    nowhere = np.zeros((0, 5, 2))  # names and points are for whoever reads the pictures
    pairs, same = arrays["pairs"], np.asarray(arrays["same"], bool)
    lists = TemplateLists((), nowhere, arrays["detector"], arrays["template"], arrays["media"], pairs, same)
    return judge(lists, outputs, reference, Flags(*(bool(flag) for flag in arrays["flags"])))


TEMPLATES = EvaluationProtocol(
    headline="template_tar@1e-4",
    shape=lambda arrays: (2 * len(arrays["template"]), "d"),
    judge=_judge_arrays,
)
