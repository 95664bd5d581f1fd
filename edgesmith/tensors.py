"""Names, shapes and types of a model's inputs and outputs, and the way from a picture to an input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from edgesmith.errors import UsageError

Arrays = dict[str, np.ndarray]
TYPES = "use a numeric type, e.g. float32, float16, int64 or uint8"


@dataclass(frozen=True)
class TensorSpec:
    """One input or output; a string in `shape` names a dynamic axis ("batch")."""

    name: str
    shape: tuple[int | str, ...]
    dtype: str = "float32"

    @property
    def dynamic(self) -> bool:
        return any(isinstance(size, str) for size in self.shape)

    @property
    def numpy_type(self) -> np.dtype:
        """The type of its arrays. Raises: UsageError for one that numpy does not have."""
        try:
            return np.dtype(self.dtype)
        except TypeError as error:
            raise UsageError(f"input {self.name!r} of type {self.dtype}", "numpy has no such type", TYPES) from error

    def concrete(self, batch: int = 1) -> tuple[int, ...]:
        """The shape with every dynamic axis set to `batch`."""
        return tuple(batch if isinstance(size, str) else size for size in self.shape)


@dataclass(frozen=True)
class Preprocessing:
    """From uint8 images to a model input: (x / 255 - mean) / std in the given colour order, NCHW.

    size is (height, width) in pixels; mean and std are per channel on the 0..1 scale.
    """

    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    color: Literal["rgb", "bgr", "gray"] = "rgb"

    @property
    def channels(self) -> int:
        return 1 if self.color == "gray" else 3

    def apply(self, images: np.ndarray) -> np.ndarray:
        """Normalise. Shape: uint8 RGB (N, H, W, 3) -> float32 (N, C, H, W). Raises: UsageError on another shape."""
        expected = (*self.size, 3)
        if images.dtype != np.uint8 or images.shape[1:] != expected:
            found = f"{images.dtype} {images.shape}"
            raise UsageError(f"images of shape (N, {', '.join(map(str, expected))}) uint8", found, "resize them first")
        if self.color == "bgr":
            images = images[..., ::-1]
        scaled = images.astype(np.float32) / 255.0
        if self.color == "gray":  # ITU-R BT.601 luma, what Pillow's "L" does
            scaled = scaled @ np.array([[0.299], [0.587], [0.114]], np.float32)
        normalised = (scaled - np.asarray(self.mean, np.float32)) / np.asarray(self.std, np.float32)
        return np.ascontiguousarray(normalised.transpose(0, 3, 1, 2), dtype=np.float32)


def check_feed(specs: Sequence[TensorSpec], feed: Arrays) -> None:
    """Raise UsageError unless `feed` has just the names, shapes and types that `specs` promise."""
    wanted = {spec.name for spec in specs}
    if set(feed) != wanted:
        raise UsageError(f"inputs {sorted(wanted)}", f"got {sorted(feed)}", "feed every input by its name")
    for spec in specs:
        array = feed[spec.name]
        fits = len(array.shape) == len(spec.shape) and all(
            isinstance(size, str) or size == found for size, found in zip(spec.shape, array.shape)
        )
        if not fits or array.dtype != spec.numpy_type:
            found = f"{array.dtype} {array.shape}"
            raise UsageError(f"input {spec.name!r} {spec.dtype} {spec.shape}", found, "convert or reshape it")


def random_feed(specs: Sequence[TensorSpec], seed: int = 0, batch: int = 1) -> Arrays:
    """Seeded synthetic inputs: standard normal for floats, small non-negative numbers for integers."""
    rng = np.random.default_rng(seed)
    feed: Arrays = {}
    for spec in specs:
        shape, dtype = spec.concrete(batch), spec.numpy_type
        values = rng.standard_normal(shape) if dtype.kind == "f" else rng.integers(0, 2, shape)
        feed[spec.name] = np.asarray(values, dtype=dtype)
    return feed


def batches(feed: Arrays, size: int) -> list[Arrays]:
    """Cut arrays along their first axis into pieces of at most `size` rows."""
    count = len(next(iter(feed.values())))
    return [{name: array[start : start + size] for name, array in feed.items()} for start in range(0, count, size)]
