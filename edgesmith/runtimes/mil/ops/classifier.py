"""The last operation of a classifier."""

from __future__ import annotations

from typing import Any

import torch

from edgesmith.runtimes.mil.registry import Tensor, op


@op("classify")
def classify(probabilities: Tensor, classes: Any) -> tuple[Any, dict[Any, float]]:
    """The most probable class, and every class with its probability."""
    values = probabilities.reshape(-1).tolist()
    if len(values) != len(classes):
        raise ValueError(f"{len(values)} probabilities for {len(classes)} classes")
    best = classes[max(range(len(values)), key=values.__getitem__)]
    return best if isinstance(best, str) else torch.tensor(best), dict(zip(classes, values))
