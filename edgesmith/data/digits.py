"""scikit-learn's 1,797 handwritten digits, enlarged: real data that needs no download."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits

from edgesmith.data.images import squish
from edgesmith.data.split import Data, Split, labelled_data
from edgesmith.tensors import Preprocessing

DEFAULT = Preprocessing((64, 64), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
CLASSES = tuple(str(digit) for digit in range(10))


def handwritten() -> tuple[np.ndarray, np.ndarray]:
    """The pictures as they are, light ink on dark, and their digits. Shape: uint8 (1797, 8, 8), int64 (1797,)."""
    raw = load_digits()
    return np.round(raw.images * (255 / 16)).astype(np.uint8), raw.target.astype(np.int64)


def load(
    preprocessing: Preprocessing | None = None, calibration: int = 200, holdout: float = 0.2, seed: int = 0
) -> Data:
    """The digits at the preprocessing's size (64 x 64 if none is given), a fifth of every class held out."""
    preprocessing = preprocessing or DEFAULT
    pictures, numbers = handwritten()
    gray = np.stack([squish(image, preprocessing.size, bicubic=True) for image in pictures])
    images = np.repeat(gray[..., None], 3, axis=3)
    names = tuple(f"digit-{index:04d}" for index in range(len(images)))
    whole = Split({"image": images}, numbers, names)
    return labelled_data("digits", whole, preprocessing, CLASSES, holdout, calibration, seed)
