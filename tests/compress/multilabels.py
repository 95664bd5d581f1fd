"""Pictures whose labels can be seen: class c is there where quadrant c is bright."""

from __future__ import annotations

import numpy as np
import torch

from edgesmith.data.split import Split

CLASSES = 4


def scenes(count: int = 40, seed: int = 0, hide: float = 0.0) -> Split:
    """uint8 pictures of 16 x 16 with four quadrants, labels int8 (N, 4), a share of them hidden."""
    rng = np.random.default_rng(seed)
    labels = (rng.random((count, CLASSES)) < 0.4).astype(np.int8)
    bright = labels.reshape(count, 2, 2).repeat(8, 1).repeat(8, 2)[..., None]
    images = (rng.integers(0, 60, (count, 16, 16, 3)) + 150 * bright.astype(np.int64)).astype(np.uint8)
    labels[rng.random(labels.shape) < hide] = -1
    return Split({"image": images}, labels)


def tensors(split: Split) -> torch.Tensor:
    """The pictures as the nets of these tests take them."""
    return torch.from_numpy(split.inputs["image"]).permute(0, 3, 1, 2).float() / 127.5 - 1
