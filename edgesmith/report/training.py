"""Training curves from a history of epochs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from edgesmith.records import to_json


def curves(epochs: Sequence[Any]) -> dict[str, Any]:
    """x (the epoch numbers) and one series for each number an epoch holds; None where an epoch lacks it."""
    flat = [_numbers(to_json(epoch)) for epoch in epochs]
    names = dict.fromkeys(name for epoch in flat for name in epoch if name != "epoch")
    return {
        "x": [epoch.get("epoch", position) for position, epoch in enumerate(flat)],
        "series": {name: [epoch.get(name) for epoch in flat] for name in names},
    }


def _numbers(record: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    found: dict[str, float] = {}
    for name, value in record.items():
        if isinstance(value, Mapping):
            found |= _numbers(value, f"{prefix}{name}.")
        elif isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            found[f"{prefix}{name}"] = value
    return found
