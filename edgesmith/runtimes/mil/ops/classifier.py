"""The labels of a classifier."""

from __future__ import annotations

from typing import Any

from edgesmith.runtimes.mil.registry import Tensor, op


@op("classify")
def classify(probabilities: Tensor, classes: Any) -> tuple[str | int, dict[str | int, float]]:
    """The label of the largest probability, and every label's."""
    values = probabilities.reshape(-1).tolist()
    if len(values) != len(classes):
        raise ValueError(f"{len(values)} probabilities for {len(classes)} classes")
    return classes[values.index(max(values))], dict(zip(classes, values))
