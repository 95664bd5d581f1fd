"""What a face system meets when only one side of it is quantized: an old threshold, an old gallery, the worst cosine.

far_kept, tar_kept: a candidate judged at the threshold that the *original* has at a false accept rate, as an app that
keeps its threshold meets them. tar_mixed: people enrolled by the original, probes by the candidate.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from edgesmith import intervals, metrics
from edgesmith.results import Accuracy, Interval
from edgesmith.verify.face_pairs import FacePairs

NOTHING = Interval(math.nan, None, None)


@dataclass(frozen=True)
class Acceptance:
    """The original's side of these questions: its unit embeddings (N, d), and the false accept rates asked for."""

    faces: FacePairs
    original: np.ndarray
    rates: Mapping[str, float] = field(default_factory=lambda: {"1e-3": 1e-3, "1e-4": 1e-4})

    def rows(self, target: str, embedding: np.ndarray) -> tuple[Accuracy, ...]:
        """far_kept, tar_kept, tar_mixed at each rate, cosine_p1 and cosine_min; their drops are positive when worse.

        The drop of far_kept is what the rate grew by, that of a cosine is 1 less it. The threshold is a given number in
        all draws over people; tar_mixed chooses its own in each. Shape: unit rows (N, d). A rate without any allowed
        false accept has n = 0.
        """
        own, mixed = self._impostors(embedding, embedding), self._impostors(self.original, embedding)
        found: list[Accuracy] = list(_cosines(target, metrics.cosine(self.original, embedding)))
        for name, far in self.rates.items():
            if self._float.allowed(far) < 1:
                empty = {"impostor_pairs": float(self._float.total)}
                names = (f"far_kept@{name}", f"tar_kept@{name}", f"tar_mixed@{name}")
                found += [Accuracy(target, metric, NOTHING, None, 0, empty) for metric in names]
                continue
            bar = self._float.bar(far)
            shift = {"threshold": bar, "threshold_shift": own.bar(far) - bar}
            found.append(self._far_kept(target, f"far_kept@{name}", own, bar, shift))
            first, second = self._genuine(self.original, self.original), self._genuine(embedding, embedding)
            draws = (self._tar_draws(first, bar), self._tar_draws(second, bar))
            found.append(_tar_row(target, f"tar_kept@{name}", (first > bar, second > bar), draws, shift))
            crossed = self._genuine(self.original, embedding)
            draws = (self._chosen_draws(first, self._float, far), self._chosen_draws(crossed, mixed, far))
            chosen = {"threshold": mixed.bar(far)}
            accepted = (first > bar, crossed > mixed.bar(far))
            found.append(_tar_row(target, f"tar_mixed@{name}", accepted, draws, chosen))
        return tuple(found)

    @cached_property
    def _float(self) -> metrics.Impostors:
        return self._impostors(self.original, self.original)

    def _impostors(self, enrolled: np.ndarray, probes: np.ndarray) -> metrics.Impostors:
        # Four times what the rate needs: a draw may weigh the top pairs lightly and look further down.
        wanted = math.ceil(max(self.rates.values(), default=0.0) * len(enrolled) ** 2 / 2)
        return metrics.cross_person(enrolled, self.faces.person, keep=max(4 * wanted, 10_000), probes=probes)

    def _genuine(self, enrolled: np.ndarray, probes: np.ndarray) -> np.ndarray:
        return self.faces.scores(enrolled, probes)[self.faces.same]

    def _tar_draws(self, genuine: np.ndarray, bar: float) -> np.ndarray:
        owner = self.faces.ends[0][self.faces.same]
        return intervals.over_people(lambda drawn: _share(drawn[owner], genuine > bar), self.faces.people)

    def _chosen_draws(self, genuine: np.ndarray, impostors: metrics.Impostors, far: float) -> np.ndarray:
        owner, total_of = self.faces.ends[0][self.faces.same], self.faces.weight_of_all(impostors)

        def tar(drawn: np.ndarray) -> float:
            weights = intervals.pair_weights(drawn, impostors.first, impostors.second)
            return _share(drawn[owner], genuine > impostors.weighted_bar(far, weights, total_of(drawn, weights)))

        return intervals.over_people(tar, self.faces.people)

    def _far_kept(
        self, target: str, metric: str, own: metrics.Impostors, bar: float, extra: Mapping[str, float]
    ) -> Accuracy:
        (value, draws), (before, earlier) = self._far(own, bar), self._far(self._float, bar)
        if len(own.scores) < own.total and (own.scores > bar).all():  # the rate is higher than what was kept can tell
            least = Interval(value, value, None)
            return Accuracy(target, metric, least, Interval(value - before, value - before, None), own.total, extra)
        guard = intervals.wilson(round(value * own.total), own.total)
        estimate = intervals.hull(intervals.from_draws(value, draws), guard)
        drop = intervals.from_draws(value - before, draws - earlier)
        return Accuracy(target, metric, estimate, drop, own.total, extra)

    def _far(self, impostors: metrics.Impostors, bar: float) -> tuple[float, np.ndarray]:
        """The false accept rate at a threshold, and its draws over people."""
        above, total_of = impostors.scores > bar, self.faces.weight_of_all(impostors)

        def far(drawn: np.ndarray) -> float:
            weights = intervals.pair_weights(drawn, impostors.first, impostors.second)
            total = total_of(drawn, weights)
            return float(weights[above].sum() / total) if total else math.nan

        return float(above.sum() / impostors.total), intervals.over_people(far, self.faces.people)


def _share(weights: np.ndarray, right: np.ndarray) -> float:
    total = weights.sum()
    return float((weights * right).sum() / total) if total else math.nan


def _tar_row(
    target: str,
    metric: str,
    accepted: tuple[np.ndarray, np.ndarray],
    draws: tuple[np.ndarray, np.ndarray],
    extra: Mapping[str, float],
) -> Accuracy:
    """accepted, draws: of the original, then of the candidate."""
    (first, second), n = accepted, len(accepted[0])
    # People are resampled, because pairs share them; the pair-wise interval guards against claims from few pairs.
    guard = intervals.wilson(int(second.sum()), n)
    estimate = intervals.hull(intervals.from_draws(float(second.mean()), draws[1]), guard)
    drop = intervals.from_draws(float(first.mean() - second.mean()), draws[0] - draws[1])
    return Accuracy(target, metric, estimate, intervals.hull(drop, intervals.score_drop(first, second)), n, extra)


def _cosines(target: str, values: np.ndarray) -> tuple[Accuracy, ...]:
    """The 1st percentile and the least one: what was seen bounds the least one from above only."""
    p1, least = intervals.percentile(values, 0.01), float(values.min())
    found = {"cosine_p1": p1, "cosine_min": Interval(least, None, least)}
    return tuple(Accuracy(target, name, one, _lost(one), len(values)) for name, one in found.items())


def _lost(likeness: Interval) -> Interval:
    low, high = (None if end is None else 1 - end for end in (likeness.high, likeness.low))
    return Interval(1 - likeness.value, low, high)
