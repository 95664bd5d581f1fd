"""Every metric of every target."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape
from typing import Any

from edgesmith.report import wording
from edgesmith.report.markup import Part, cell, table

HEAD = ("Target", "Metric", "Estimate", "Drop, points", "Samples", "Also")


def section(report: Mapping[str, Any]) -> Part | None:
    """A row a metric and target."""
    rows = []
    for a in report["accuracies"]:
        extra = ", ".join(f"{name} {wording.number(value)}" for name, value in a["extra"].items())
        found = cell(a["estimate"] if a["n"] else {"not_measured": "too few samples or pairs"}, _as_metric(a["metric"]))
        start = [escape(a["target"]), escape(wording.metric_name(a["metric"])), found, cell(a["drop"], wording.points)]
        rows.append([*start, f"{a['n']:,}", f'<span class="soft">{escape(extra)}</span>'])
    if not rows:
        return None
    body = table(HEAD, rows, "Accuracy", 2)
    return Part("accuracy", "Accuracy", body, "every metric of every target", is_open=False)


def _as_metric(name: str) -> Callable[[float | None], str]:
    return lambda value: wording.metric(value, name)
