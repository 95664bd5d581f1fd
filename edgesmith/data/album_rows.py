"""Albums as arrays: a row an album, photos side by side, a mask for the places that hold none; and which photos stand.

Sampling: "rand_permute" takes photos at random, "uniform" at even distances in the order they are listed. An album
with fewer photos than places leaves places empty, or (`repeat`, as the authors do) shows photos once more.
Source: Glaser et al. 2021, arXiv 2109.12499 (PETA).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from edgesmith.data.split import Data, Evaluation, Split, digest, holdout_rows, sample_rows
from edgesmith.errors import MissingResource, UsageError
from edgesmith.tensors import Arrays, Preprocessing

Sampling = Literal["uniform", "rand_permute"]


def chosen(count: int, places: int, sampling: Sampling, rng: np.random.Generator, repeat: bool = False) -> np.ndarray:
    """Which of `count` photos stand in at most `places` places, or in all of them with `repeat`.

    Photos chosen uniformly keep their order. Shape: -> (min(count, places),), with `repeat` (places,).
    """
    if count >= places:
        if sampling == "uniform":
            return np.round(np.linspace(0, count - 1, places)).astype(np.int64)
        return rng.permutation(count)[:places]
    once = np.arange(count) if sampling == "uniform" else rng.permutation(count)
    if not repeat or not count:
        return once
    again = [rng.permutation(count) for _ in range(places // count)]
    return np.concatenate([once, *again])[:places]


@dataclass(frozen=True)
class Albums:
    """Albums in memory.

    photos uint8 (A, M, H, W, 3), mask uint8 (A, M). labels: event numbers (A,), or (A, C) of 1, 0 and -1 (not
    annotated), or none. importance (A, M) as people see it, NaN where nobody said; or none.
    """

    photos: np.ndarray
    mask: np.ndarray
    labels: np.ndarray | None
    importance: np.ndarray | None
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.photos)

    def take(self, rows: np.ndarray) -> Albums:
        """The albums of these rows, in their order."""
        pick = {
            key: None if (values := getattr(self, key)) is None else values[rows] for key in ("labels", "importance")
        }
        names = tuple(self.names[row] for row in rows)
        return replace(self, photos=self.photos[rows], mask=self.mask[rows], names=names, **pick)

    def sampled(self, places: int, sampling: Sampling, seed: int, repeat: bool = False) -> Albums:
        """The same albums with `places` photos each, chosen once."""
        rng = np.random.default_rng(seed)
        shape = (len(self), places)
        photos, mask = np.zeros((*shape, *self.photos.shape[2:]), np.uint8), np.zeros(shape, np.uint8)
        importance = None if self.importance is None else np.full(shape, np.nan, np.float32)
        for row, there in enumerate(self.mask):
            photo = np.flatnonzero(there)
            photo = photo[chosen(len(photo), places, sampling, rng, repeat)]
            photos[row, : len(photo)], mask[row, : len(photo)] = self.photos[row, photo], 1
            if importance is not None and self.importance is not None:
                importance[row, : len(photo)] = self.importance[row, photo]
        return replace(self, photos=photos, mask=mask, importance=importance)

    @property
    def split(self) -> Split:
        """What an album net is fed with."""
        return Split({"photos": self.photos, "mask": self.mask}, self.labels, self.names)

    @property
    def evaluation(self) -> Evaluation:
        """The question: event, or events, and importance where it is known."""
        if self.labels is None:
            return Evaluation(self.split, "agreement")
        arrays: Arrays = {"labels": self.labels, "mask": self.mask}
        if self.importance is not None:
            arrays["importance"] = self.importance
        return Evaluation(self.split, "albums" if self.labels.ndim == 1 else "albums-multilabel", arrays)


def check_album_options(preprocessing: Preprocessing | None, photos: int, pool: int) -> None:
    """Raise UsageError for a net that wants prepared pictures, or numbers that make no album."""
    if preprocessing is not None:
        found = "the model wants prepared pictures, one by one"
        raise UsageError("load albums", found, "use an album net (model: {use: album}): it prepares photos itself")
    if photos < 1 or pool < photos:
        found = f"photos {photos}, pool {pool}"
        raise UsageError("load albums", found, "give one photo an album at least, and a pool not smaller than that")


def album_data(
    name: str,
    train: Albums | None,
    judged: Albums | None,
    classes: tuple[str, ...],
    places: int,
    sampling: Sampling,
    calibration: int,
    seed: int,
    skipped: tuple[str, ...] = (),
) -> Data:
    """Training albums with all their photos; calibration and evaluation albums as the exported net takes them."""
    source = train or judged
    if source is None or not len(source):
        raise MissingResource(f"load {name}", "no albums", "check the path")
    chosen_ones = source.take(sample_rows(len(source), calibration, seed)).sampled(places, sampling, seed).split
    asked = None if judged is None else judged.sampled(places, sampling, seed)
    learnt = None if train is None or train.labels is None else train.split
    truth = None if asked is None else asked.evaluation
    content = digest(learnt, chosen_ones, None if asked is None else asked.split, truth.arrays if truth else None)
    return Data(name, content, None, classes, learnt, chosen_ones, truth, skipped)


def held_out(albums: Albums, holdout: float, seed: int) -> tuple[Albums | None, Albums | None]:
    """Albums to train on and albums to judge by; a share of every event where an album has one.

    Raises: UsageError when the share is not within 0..1.
    """
    labels = albums.labels
    if labels is None or labels.ndim == 2:
        labels = np.zeros(len(albums), np.int64)
    kept, held = holdout_rows(labels, holdout, seed)
    return (albums.take(kept) if len(kept) else None), (albums.take(held) if len(held) else None)
