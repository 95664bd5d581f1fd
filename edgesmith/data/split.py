"""Data in memory: a split, what is asked of it, and seeded ways to cut it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from edgesmith.errors import MissingResource, UsageError
from edgesmith.tensors import Arrays, Preprocessing


@dataclass(frozen=True)
class Split:
    """Samples along the first axis of each input; uint8 RGB {"image": (N, H, W, 3)} where pictures are meant."""

    inputs: Arrays
    labels: np.ndarray | None = None
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    def take(self, rows: np.ndarray) -> Split:
        """The samples of these rows, in their order."""
        inputs = {name: array[rows] for name, array in self.inputs.items()}
        labels = None if self.labels is None else self.labels[rows]
        return Split(inputs, labels, tuple(self.names[row] for row in rows) if self.names else ())


@dataclass(frozen=True)
class Evaluation:
    """A split and the question asked of it: a protocol of edgesmith.verify, and the arrays that it wants.

    "verification" wants N plain images and their N mirror images after them in the split; "agreement" no arrays.
    """

    split: Split
    protocol: str
    arrays: Arrays = field(default_factory=dict)


@dataclass(frozen=True)
class Data:
    """A data set: what to train on, what to calibrate with, what to judge by; digest covers all of its content."""

    name: str
    digest: str
    preprocessing: Preprocessing | None
    classes: tuple[str, ...]
    train: Split | None
    calibration: Split
    evaluation: Evaluation | None
    skipped: tuple[str, ...] = ()


def digest(*parts: Split | Arrays | None) -> str:
    """sha256 over names, types, shapes and bytes of every array."""
    total = hashlib.sha256()
    for part in parts:
        arrays = part if isinstance(part, dict) else _arrays(part)
        for name in sorted(arrays):
            array = np.ascontiguousarray(arrays[name])
            total.update(f"{name} {array.dtype} {array.shape}\n".encode())
            total.update(array.reshape(-1).view(np.uint8).data)
        total.update(b"--\n")
    return total.hexdigest()


def _arrays(split: Split | None) -> Arrays:
    if split is None:
        return {}
    return split.inputs if split.labels is None else {**split.inputs, ":labels": split.labels}


def holdout_rows(labels: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows kept and rows held out, `share` of every class, both in rising order.

    Raises: UsageError when the share is not within 0..1.
    """
    if not 0.0 <= share <= 1.0:
        raise UsageError("hold out a share of the data", f"share {share}", "give a number from 0 to 1")
    rng = np.random.default_rng(seed)
    held = [rng.permutation(rows)[: round(share * len(rows))] for rows in _by_class(labels)]
    chosen = np.zeros(len(labels), bool)
    chosen[np.concatenate(held)] = True
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


def sample_rows(count: int, wanted: int, seed: int) -> np.ndarray:
    """At most `wanted` of `count` rows, seeded, in rising order."""
    if wanted < 1:
        raise UsageError("a calibration set", f"{wanted} samples", "ask for one at least")
    return np.sort(np.random.default_rng(seed).permutation(count)[:wanted])


def labelled_data(
    name: str,
    whole: Split,
    preprocessing: Preprocessing | None,
    classes: Sequence[str],
    holdout: float,
    calibration: int,
    seed: int,
    skipped: Sequence[str] = (),
) -> Data:
    """Cut labelled samples into train, calibration (a part of train) and evaluation (top1).

    With holdout 1 there is nothing to train on and calibration is a part of the evaluation samples.
    """
    if whole.labels is None:
        raise UsageError(f"cut {name} by class", "the samples have no labels", "give labels")
    kept, held = holdout_rows(whole.labels, holdout, seed)
    train = whole.take(kept) if len(kept) else None
    source = train or whole
    chosen = source.take(sample_rows(len(source), calibration, seed))
    asked = whole.take(held) if len(held) else None
    evaluation = Evaluation(asked, "top1", {"labels": _labels(asked)}) if asked else None
    found = digest(train, chosen, asked)
    return Data(name, found, preprocessing, tuple(classes), train, chosen, evaluation, tuple(skipped))


def unlabelled_data(
    name: str,
    whole: Split,
    preprocessing: Preprocessing | None,
    calibration: int,
    seed: int,
    skipped: Sequence[str] = (),
) -> Data:
    """Samples without labels: some to calibrate with, and all of them to see whether two models agree."""
    if not len(whole):
        raise MissingResource(f"load {name}", "no samples", "check the path")
    chosen = whole.take(sample_rows(len(whole), calibration, seed))
    found = digest(chosen, whole)
    return Data(name, found, preprocessing, (), None, chosen, Evaluation(whole, "agreement"), tuple(skipped))


def _labels(split: Split) -> np.ndarray:
    return np.zeros(0, np.int64) if split.labels is None else split.labels


def _by_class(labels: np.ndarray) -> list[np.ndarray]:
    return [np.flatnonzero(labels == value) for value in np.unique(labels)]
