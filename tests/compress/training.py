"""Small nets and pictures for the tests of distillation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from edgesmith.compress.fit import FitConfig, FitResult, fit
from edgesmith.compress.task import Parts
from edgesmith.data.split import Split
from edgesmith.models.resnet import build
from edgesmith.tensors import Preprocessing

PREPROCESSING = Preprocessing((16, 16), (0.5,) * 3, (0.5,) * 3)
CONFIG = FitConfig(epochs=2, batch=8, lr=0.05, seed=3, threads=1, accelerator="cpu")


def net(embedding: int = 6, seed: int = 0, classes: int = 3) -> nn.Module:
    return build(width=4, blocks=(1,), size=16, embedding=embedding, classes=classes, seed=seed)[0]


def parts(student: int = 6, teacher: int = 6, head: nn.Linear | None = None) -> Parts:
    return Parts(net(student, 0), net(teacher, 1), 3, head)


def images(count: int = 26, classes: int = 3) -> Split:
    labels = np.arange(count) % classes
    noise = np.random.default_rng(0).integers(0, 60, (count, 16, 16, 3))
    noise[:, :, :8] //= 2  # a mirror image is another picture
    return Split({"image": (noise + 60 * labels[:, None, None, None]).astype(np.uint8)}, labels)


def trained(task: Any, folder: Path, split: Split | None = None, **changes: Any) -> FitResult:
    return fit(task, split or images(), PREPROCESSING, replace(CONFIG, **changes), folder)
