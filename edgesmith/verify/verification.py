"""Protocol "verification": are two pictures of the same person?

arrays: pairs (P, 2), same (P,), fold (P,), person (N,); outputs: embeddings (2N, d) of N pictures, then of their N
mirror images.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from edgesmith import intervals, metrics
from edgesmith.errors import UsageError
from edgesmith.results import Accuracy, Interval
from edgesmith.tensors import Arrays
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

    Also cosine, to the original: extra has p1 and min. Raises: UsageError when the reference's outputs hold NaN.
    """
    faces = _Faces.of(arrays)
    if non_finite(outputs[reference]):
        raise UsageError(f"drop against {reference}", "its embeddings hold NaN", "check the inputs and the model")
    original = metrics.flip_embedding(outputs[reference])
    baseline = faces.answers(original)
    found: list[Accuracy] = []
    for name, output in outputs.items():
        bad = non_finite(output)
        if bad:  # thresholds chosen among NaN mean nothing
            found += [Accuracy(name, a.metric, NOTHING, None, len(a.answers), bad) for a in baseline]
            continue
        embedding = original if name == reference else metrics.flip_embedding(output)
        answers = baseline if name == reference else faces.answers(embedding)
        found += [_row(name, a, None if name == reference else b) for a, b in zip(answers, baseline)]
        if name != reference:
            found.append(_cosine(name, original, embedding))
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


@dataclass(frozen=True)
class _Faces:
    """The given pairs, with people numbered from 0."""

    pairs: np.ndarray
    same: np.ndarray
    fold: np.ndarray
    person: np.ndarray

    @staticmethod
    def of(arrays: Arrays) -> _Faces:
        person = np.unique(arrays["person"], return_inverse=True)[1].reshape(-1)
        return _Faces(arrays["pairs"], np.asarray(arrays["same"], bool), arrays["fold"], person)

    @property
    def people(self) -> int:
        return int(self.person.max()) + 1

    @property
    def ends(self) -> tuple[np.ndarray, np.ndarray]:
        """The two people of each pair."""
        return self.person[self.pairs[:, 0]], self.person[self.pairs[:, 1]]

    def answers(self, embedding: np.ndarray) -> list[_Answer]:
        scores = (embedding[self.pairs[:, 0]] * embedding[self.pairs[:, 1]]).sum(1)
        genuine, owner = scores[self.same], self.ends[0][self.same]
        first, second = (end[~self.same] for end in self.ends)
        given = metrics.impostors_of(scores[~self.same], first, second)
        wanted = math.ceil(max(ALL_PAIRS_FAR) * len(embedding) ** 2 / 2)
        # Four times what the rate needs: a bootstrap draw may weigh the top pairs lightly and look further down.
        every = metrics.cross_person(embedding, self.person, keep=max(4 * wanted, 10_000))
        found = [self._k_fold(scores), self._tar("tar@1e-2", genuine, owner, given, PAIRS_FAR)]
        for far, name in zip(ALL_PAIRS_FAR, ("tar_all@1e-3", "tar_all@1e-4")):
            found.append(self._tar(name, genuine, owner, every, far))
        return found

    def _k_fold(self, scores: np.ndarray) -> _Answer:
        folds = metrics.k_fold(scores, self.same, self.fold)
        first, second = self.ends

        def accuracy(drawn: np.ndarray) -> float:
            weights = intervals.pair_weights(drawn, first, second)
            total = weights.sum()
            return float((weights * folds.correct).sum() / total) if total else math.nan

        draws = intervals.over_people(accuracy, self.people)
        return _Answer("accuracy", folds.mean, folds.correct, draws, {"fold_std": folds.std})

    def _tar(
        self, metric: str, genuine: np.ndarray, owner: np.ndarray, impostors: metrics.Impostors, far: float
    ) -> _Answer:
        if impostors.allowed(far) < 1 or not len(genuine):
            return _Answer(metric, math.nan, np.zeros(0, bool), None, {"impostor_pairs": float(impostors.total)})
        point = metrics.tar_at_far(genuine, impostors, far)
        total_of = self._weight_of_all(impostors)

        def tar(drawn: np.ndarray) -> float:
            weights = intervals.pair_weights(drawn, impostors.first, impostors.second)
            bar = impostors.weighted_bar(far, weights, total_of(drawn, weights))
            total = drawn[owner].sum()
            return float((drawn[owner] * (genuine > bar)).sum() / total) if total else math.nan

        extra = {"threshold": point.threshold, "far": point.far, "impostor_pairs": float(impostors.total)}
        return _Answer(metric, point.tar, genuine >= point.threshold, intervals.over_people(tar, self.people), extra)

    def _weight_of_all(self, impostors: metrics.Impostors) -> Callable[[np.ndarray, np.ndarray], float]:
        if impostors.total == len(impostors.scores):
            return lambda drawn, weights: float(weights.sum())
        images = np.bincount(self.person, minlength=self.people).astype(np.float64)
        # The sum over pairs of different people of w_p c_p w_q c_q, without listing the pairs.
        return lambda drawn, weights: float(((drawn @ images) ** 2 - (drawn**2) @ (images**2)) / 2)


VERIFICATION = EvaluationProtocol("accuracy", lambda arrays: (2 * len(arrays["person"]), "d"), judge)
