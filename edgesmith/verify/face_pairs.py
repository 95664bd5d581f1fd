"""Pairs of pictures of people, and what a bootstrap over people has to know about them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edgesmith import metrics
from edgesmith.errors import UsageError
from edgesmith.tensors import Arrays


@dataclass(frozen=True)
class FacePairs:
    """The given pairs, with people numbered from 0. Shape: pairs (P, 2), same (P,), fold (P,), person (N,)."""

    pairs: np.ndarray
    same: np.ndarray
    fold: np.ndarray
    person: np.ndarray

    @staticmethod
    def of(arrays: Arrays) -> FacePairs:
        """Raises: UsageError for pairs of one kind only: they tell nothing about the other."""
        same = np.asarray(arrays["same"], bool)
        if same.all() or not same.any():
            found = f"all {len(same)} pairs are of {'the same person' if same.any() else 'different people'}"
            raise UsageError("judge verification", found, "give pairs of the same person and of different people")
        person = np.unique(arrays["person"], return_inverse=True)[1].reshape(-1)
        return FacePairs(arrays["pairs"], same, arrays["fold"], person)

    @property
    def people(self) -> int:
        return int(self.person.max()) + 1

    @property
    def ends(self) -> tuple[np.ndarray, np.ndarray]:
        """The two people of each pair."""
        return self.person[self.pairs[:, 0]], self.person[self.pairs[:, 1]]

    def scores(self, enrolled: np.ndarray, probes: np.ndarray) -> np.ndarray:
        """Cosine of each pair, its first picture enrolled and its second the probe. Shape: unit rows (N, d) twice."""
        found: np.ndarray = (enrolled[self.pairs[:, 0]] * probes[self.pairs[:, 1]]).sum(1)
        return found

    def weight_of_all(self, impostors: metrics.Impostors) -> Callable[[np.ndarray, np.ndarray], float]:
        """(how often each person was drawn, weights of the pairs kept) -> the weight of all impostor pairs."""
        if impostors.total == len(impostors.scores):
            return lambda drawn, weights: float(weights.sum())
        images = np.bincount(self.person, minlength=self.people).astype(np.float64)
        # The sum over pairs of different people of w_p c_p w_q c_q, without listing the pairs.
        return lambda drawn, weights: float(((drawn @ images) ** 2 - (drawn**2) @ (images**2)) / 2)
