"""How each output of each target agrees with the original's, without labels."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from edgesmith.report import wording
from edgesmith.report.markup import Part, cell, table

HEAD = (
    "Target",
    "Output",
    "Top-1 agreement",
    "Cosine, mean",
    "Cosine, p1",
    "Cosine, min",
    "Max abs",
    "SQNR, dB",
    "n",
)


def section(report: Mapping[str, Any]) -> Part | None:
    """A row an output and target."""
    rows = [_row(a) for a in report["agreements"]]
    if not rows:
        return None
    body = table(HEAD, rows, "Agreement", 2)
    return Part("agreement", "Agreement with the original", body, "without labels", is_open=False)


def _row(a: Mapping[str, Any]) -> list[str]:
    name, n = escape(a["target"]), f"{a['n']:,}"
    if a["problem"]:
        return [name, escape(a["output"]), f'<div class="wrap">{escape(a["problem"])}</div>', *["–"] * 5, n]
    cosines = (cell(a[key], _cosine) for key in ("cosine", "cosine_p1", "cosine_min"))
    others = (cell(a["max_abs"], wording.number), cell(a["sqnr_db"], wording.number))
    return [name, escape(a["output"]), cell(a["top1"], wording.percent), *cosines, *others, n]


def _cosine(value: float | None) -> str:
    return wording.metric(value, "cosine")
