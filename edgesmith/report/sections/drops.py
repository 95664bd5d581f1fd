"""The layers that were in float to keep a drop of accuracy: which stayed, which were given back, what each costs."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from edgesmith.report import wording
from edgesmith.report.markup import Part, table

HEAD = ("Target", "Layer", "Ends in", "Noise in int8", "Float costs more", "Drop with it in int8, points")
_ENDS = {"given back": "int8, given back", "needed": "float, needed", "not decided": "float, not decided"}


def section(report: Mapping[str, Any]) -> Part | None:
    """A row a layer and target; None where no plan needed a layer in float."""
    rows = []
    for control in report.get("drops", ()):
        for row in control["raised"]:
            drop = wording.drop(row["drop"]) if row["drop"] else "–"
            cost = f"{wording.number(row['cost'])} {row['unit']}"
            start = [escape(control["target"]), escape(row["layer"]), escape(_ENDS[row["fate"]])]
            rows.append([*start, wording.number(row["noise"]), escape(cost), escape(drop)])
    if not rows:
        return None
    body = table(HEAD, rows, "Layers in float for the accuracy", 3)
    return Part(
        "drops", "Layers in float for the accuracy", body, "to keep a drop, measured on the runtime", is_open=False
    )
