"""Scenes of up to four real handwritten digits in coloured ink: multi-label data that need no download."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgesmith.data.digits import handwritten
from edgesmith.data.images import squish
from edgesmith.data.partial_labels import hidden
from edgesmith.data.split import Data, Evaluation, Split, digest, holdout_rows
from edgesmith.errors import UsageError
from edgesmith.tensors import Preprocessing

DEFAULT = Preprocessing((32, 32), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
INKS = {"red": (255, 60, 60), "green": (60, 230, 60), "blue": (90, 120, 255), "white": (255, 255, 255)}
CLASSES = (*(f"digit {digit}" for digit in range(10)), *INKS, "two of a kind", "empty cell")
CELLS = 4
FILLED = 0.7  # chance that a cell holds a digit


@dataclass(frozen=True)
class _Digits:
    """Handwritten digits at the size of a cell: ink (n, h, w) from 0 to 1, and what they are (n,)."""

    ink: np.ndarray
    kinds: np.ndarray

    def take(self, rows: np.ndarray) -> _Digits:
        return _Digits(self.ink[rows], self.kinds[rows])


def load(
    preprocessing: Preprocessing | None = None,
    samples: int = 1200,
    calibration: int = 200,
    evaluation: int = 400,
    imbalance: float = 4.0,
    partial: str = "",
    seed: int = 0,
) -> Data:
    """Compose scenes of 2 x 2 cells, labelled with the digits and inks that are there, and two more.

    Training, calibration and evaluation scenes are made of different digits (70, 10 and 20 % of scikit-learn's
    1,797), so no handwriting is met twice. Digit 0 is `imbalance` times as frequent as digit 9. `partial` hides
    training labels ("fpc:N", "rps:P"). The same seed gives the same bytes.
    Raises: UsageError.
    """
    preprocessing = preprocessing or DEFAULT
    wrong = min(samples, calibration, evaluation) < 1 or imbalance < 1 or min(preprocessing.size) < 16
    if wrong:
        found = f"{samples}, {calibration} and {evaluation} scenes of {preprocessing.size}, imbalance {imbalance}"
        raise UsageError("compose scenes", found, "give counts and an imbalance from 1, and 16 pixels a side at least")
    train, calibrate, judge = _parts(preprocessing.size, seed)
    whole, chosen, asked = (
        _scenes(digits, count, preprocessing.size, imbalance, (seed, part), name)
        for part, (digits, count, name) in enumerate(
            ((train, samples, "train"), (calibrate, calibration, "calibration"), (judge, evaluation, "evaluation"))
        )
    )
    if partial and whole.labels is not None:
        whole = Split(whole.inputs, hidden(whole.labels, partial, seed), whole.names)
    judged = Evaluation(asked, "multilabel", {} if asked.labels is None else {"labels": asked.labels})
    return Data("scenes", digest(whole, chosen, asked), preprocessing, CLASSES, whole, chosen, judged)


def _parts(size: tuple[int, int], seed: int) -> tuple[_Digits, _Digits, _Digits]:
    """Digits to train, to calibrate and to judge with: every kind in each."""
    pictures, kinds = handwritten()
    cell = (size[0] * 7 // 16, size[1] * 7 // 16)
    digits = _Digits(np.stack([squish(picture, cell, bicubic=True) for picture in pictures]) / np.float32(255), kinds)
    rest, judge = holdout_rows(kinds, 0.2, seed)
    kept, calibrate = holdout_rows(kinds[rest], 0.125, seed + 1)
    return digits.take(rest[kept]), digits.take(rest[calibrate]), digits.take(judge)


def _scenes(
    digits: _Digits, count: int, size: tuple[int, int], imbalance: float, seed: tuple[int, int], name: str
) -> Split:
    rng = np.random.default_rng(seed)
    images, labels = np.zeros((count, *size, 3), np.uint8), np.zeros((count, len(CLASSES)), np.int8)
    often = imbalance ** (-np.arange(10) / 9)
    rows_of = [np.flatnonzero(digits.kinds == kind) for kind in range(10)]
    for scene in range(count):
        images[scene] = rng.integers(0, 40, (*size, 3))
        kinds = np.where(rng.random(CELLS) < FILLED, rng.choice(10, CELLS, p=often / often.sum()), -1)
        for cell in np.flatnonzero(kinds >= 0).tolist():
            ink = int(rng.integers(len(INKS)))
            _draw(images[scene], digits.ink[rng.choice(rows_of[kinds[cell]])], cell, tuple(INKS.values())[ink], rng)
            labels[scene, [kinds[cell], 10 + ink]] = 1
        there = kinds[kinds >= 0]
        labels[scene, 14:] = len(np.unique(there)) < len(there), len(there) < CELLS
    return Split({"image": images}, labels, tuple(f"{name}-{scene:05d}" for scene in range(count)))


def _draw(image: np.ndarray, ink: np.ndarray, cell: int, color: tuple[int, ...], rng: np.random.Generator) -> None:
    """Put a digit somewhere in its cell, over what is there."""
    height, width = image.shape[0] // 2, image.shape[1] // 2
    room = (height - ink.shape[0], width - ink.shape[1])
    top = (cell // 2) * height + int(rng.integers(room[0] + 1))
    left = (cell % 2) * width + int(rng.integers(room[1] + 1))
    part = image[top : top + ink.shape[0], left : left + ink.shape[1]]
    part[:] = np.round(part * (1 - ink[..., None]) + ink[..., None] * np.array(color)).astype(np.uint8)
