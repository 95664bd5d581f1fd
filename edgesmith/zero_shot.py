"""Judging a model on labels it was never trained on: alone (ZSL), and among the labels it knows (GZSL).

Source: Ben-Cohen et al. 2021, arXiv 2105.05926, section 4; Zhang et al. 2016 (Fast0Tag) for the two questions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgesmith.errors import UsageError
from edgesmith.multilabel_metrics import AtK, at_k, check_labels, mean_ap


@dataclass(frozen=True)
class Vocabulary:
    """Columns of the labels that training saw and that it did not; others take no part. Raises: UsageError."""

    seen: tuple[int, ...]
    unseen: tuple[int, ...]

    def __post_init__(self) -> None:
        both = sorted(set(self.seen) & set(self.unseen))
        wrong = [column for column in (*self.seen, *self.unseen) if column < 0]
        if both or wrong or not self.unseen:
            found = f"{len(self.unseen)} unseen, in both {both[:5]}, below 0 {wrong[:5]}"
            raise UsageError("seen and unseen labels", found, "give columns from 0, each once, some of them unseen")

    @property
    def all(self) -> tuple[int, ...]:
        """All columns in rising order."""
        return tuple(sorted((*self.seen, *self.unseen)))


@dataclass(frozen=True)
class ZeroShot:
    """Counts at K over all images, mAP over labels, and what `chance` gives: the same of scores without knowledge.

    images: how many are judged, those with one of the labels at least.
    """

    at: AtK
    mean_ap: float
    chance_f1: float
    chance_ap: float
    images: int


def zsl(scores: np.ndarray, labels: np.ndarray, vocabulary: Vocabulary, k: int, seed: int = 0) -> ZeroShot:
    """Rank the unseen labels only. Shape: scores and labels (N, C), columns as the vocabulary counts them."""
    return _judged(scores, labels, vocabulary.unseen, k, seed)


def gzsl(scores: np.ndarray, labels: np.ndarray, vocabulary: Vocabulary, k: int, seed: int = 0) -> ZeroShot:
    """Rank seen and unseen labels together. Shape: scores and labels (N, C)."""
    return _judged(scores, labels, vocabulary.all, k, seed)


def _judged(scores: np.ndarray, labels: np.ndarray, columns: tuple[int, ...], k: int, seed: int) -> ZeroShot:
    check_labels(labels, scores)
    if max(columns) >= labels.shape[1]:
        found = f"column {max(columns)}, the labels have {labels.shape[1]}"
        raise UsageError("seen and unseen labels", found, "give the columns of these labels")
    rows = np.flatnonzero((labels[:, columns] == 1).any(1))
    if not len(rows):
        raise UsageError("zero-shot labels", "no image has one of them", "judge on images that have")
    asked, truth = scores[rows][:, columns], labels[rows][:, columns]
    # Without knowledge every label is as likely as another: precision is the share of positives, and so is AP.
    blind = np.random.default_rng(seed).random(asked.shape)
    known, there = (truth != -1).sum(0), (truth == 1).sum(0)
    usable = (there > 0) & (there < known)
    chance = float((there[usable] / known[usable]).mean()) if usable.any() else float("nan")
    found = mean_ap(asked, truth).macro
    return ZeroShot(at_k(asked, truth, k), found, at_k(blind, truth, k).f1, chance, len(rows))
