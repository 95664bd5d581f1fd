"""Protocol "verification": are two pictures of the same person?

arrays: pairs (P, 2), same (P,), fold (P,), person (N,); outputs: embeddings (2N, d) of N pictures, then of their N
mirror images.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from edgesmith import intervals, metrics
from edgesmith.errors import UsageError
from edgesmith.results import Accuracy, Interval
from edgesmith.tensors import Arrays
from edgesmith.verify.embedding import Acceptance
from edgesmith.verify.face_pairs import FacePairs
from edgesmith.verify.protocol import EvaluationProtocol, Outputs, mcnemar, non_finite

PAIRS_FAR = 1e-2
ALL_PAIRS_FAR = (1e-3, 1e-4)
NOTHING = Interval(math.nan, None, None)


@dataclass(frozen=True)
class _Answer:
    """One metric of one target: its value, right/wrong answers paired over targets, and its bootstrap draws."""

    metric: str
    value: float
    answers: np.ndarray
    draws: np.ndarray | None
    extra: Mapping[str, float] = field(default_factory=dict)


def judge(arrays: Arrays, outputs: Outputs, reference: str) -> tuple[Accuracy, ...]:
    """k-fold accuracy, tar@1e-2 of the given pairs, tar_all@1e-3 and @1e-4 against all pairs of different people.

    Also cosine, to the original (extra has p1 and min), and what embedding.py asks: the original's threshold and
    gallery kept. Raises: UsageError when the reference's outputs hold NaN, or for pairs of one kind only.
    """
    faces = FacePairs.of(arrays)
    if non_finite(outputs[reference]):
        raise UsageError(f"drop against {reference}", "its embeddings hold NaN", "check the inputs and the model")
    original = metrics.flip_embedding(outputs[reference])
    baseline, acceptance = _answers(faces, original), Acceptance(faces, original)
    found: list[Accuracy] = []
    for name, output in outputs.items():
        bad = non_finite(output)
        if bad:  # thresholds chosen among NaN mean nothing
            found += [Accuracy(name, a.metric, NOTHING, None, len(a.answers), bad) for a in baseline]
            continue
        embedding = original if name == reference else metrics.flip_embedding(output)
        answers = baseline if name == reference else _answers(faces, embedding)
        found += [_row(name, a, None if name == reference else b) for a, b in zip(answers, baseline)]
        if name != reference and embedding.shape == original.shape:
            found += [_cosine(name, original, embedding), *acceptance.rows(name, embedding)]
    return tuple(found)


def _row(target: str, answer: _Answer, baseline: _Answer | None) -> Accuracy:
    if answer.draws is None:
        return Accuracy(target, answer.metric, NOTHING, None, 0, answer.extra)
    n = len(answer.answers)
    # People are resampled, because pairs share them; the pair-wise interval guards against claims from few pairs.
    estimate = intervals.from_draws(answer.value, answer.draws)
    estimate = intervals.hull(estimate, intervals.wilson(int(answer.answers.sum()), n))
    drop, extra = None, dict(answer.extra)
    if baseline is not None and baseline.draws is not None:
        drop = intervals.from_draws(baseline.value - answer.value, baseline.draws - answer.draws)
        drop = intervals.hull(drop, intervals.score_drop(baseline.answers, answer.answers))
        extra["mcnemar_p"] = mcnemar(baseline.answers, answer.answers)
    return Accuracy(target, answer.metric, estimate, drop, n, extra)


def _cosine(target: str, original: np.ndarray, embedding: np.ndarray) -> Accuracy:
    values = metrics.cosine(original, embedding)
    stats = metrics.cosine_stats(values)
    return Accuracy(target, "cosine", intervals.mean(values), None, len(values), {"p1": stats.p1, "min": stats.min})


def _answers(faces: FacePairs, embedding: np.ndarray) -> list[_Answer]:
    scores = faces.scores(embedding, embedding)
    genuine, owner = scores[faces.same], faces.ends[0][faces.same]
    first, second = (end[~faces.same] for end in faces.ends)
    given = metrics.impostors_of(scores[~faces.same], first, second)
    wanted = math.ceil(max(ALL_PAIRS_FAR) * len(embedding) ** 2 / 2)
    # Four times what the rate needs: a bootstrap draw may weigh the top pairs lightly and look further down.
    every = metrics.cross_person(embedding, faces.person, keep=max(4 * wanted, 10_000))
    found = [_k_fold(faces, scores), _tar(faces, "tar@1e-2", genuine, owner, given, PAIRS_FAR)]
    for far, name in zip(ALL_PAIRS_FAR, ("tar_all@1e-3", "tar_all@1e-4")):
        found.append(_tar(faces, name, genuine, owner, every, far))
    return found


def _k_fold(faces: FacePairs, scores: np.ndarray) -> _Answer:
    folds = metrics.k_fold(scores, faces.same, faces.fold)
    first, second = faces.ends

    def accuracy(drawn: np.ndarray) -> float:
        weights = intervals.pair_weights(drawn, first, second)
        total = weights.sum()
        return float((weights * folds.correct).sum() / total) if total else math.nan

    draws = intervals.over_people(accuracy, faces.people)
    return _Answer("accuracy", folds.mean, folds.correct, draws, {"fold_std": folds.std})


def _tar(
    faces: FacePairs, metric: str, genuine: np.ndarray, owner: np.ndarray, impostors: metrics.Impostors, far: float
) -> _Answer:
    if impostors.allowed(far) < 1 or not len(genuine):
        return _Answer(metric, math.nan, np.zeros(0, bool), None, {"impostor_pairs": float(impostors.total)})
    point = metrics.tar_at_far(genuine, impostors, far)
    total_of = faces.weight_of_all(impostors)

    def tar(drawn: np.ndarray) -> float:
        weights = intervals.pair_weights(drawn, impostors.first, impostors.second)
        bar = impostors.weighted_bar(far, weights, total_of(drawn, weights))
        total = drawn[owner].sum()
        return float((drawn[owner] * (genuine > bar)).sum() / total) if total else math.nan

    extra = {"threshold": point.threshold, "far": point.far, "impostor_pairs": float(impostors.total)}
    return _Answer(metric, point.tar, genuine >= point.threshold, intervals.over_people(tar, faces.people), extra)


VERIFICATION = EvaluationProtocol("accuracy", lambda arrays: (2 * len(arrays["person"]), "d"), judge)
