"""Accuracy against latency, size as area, and the line of those that nothing beats in both."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from edgesmith.report import wording
from edgesmith.report.chart import SYMBOLS, Chart, axis, colour, figure, figures, log_axis
from edgesmith.report.commands import again
from edgesmith.report.markup import Part, cell, table

LEAST, MOST = 9.0, 34.0  # px across
Row = Mapping[str, Any]


def section(report: Mapping[str, Any]) -> Part | None:
    """One point a target that was both scored and timed; those with the first one's metric."""
    scored = [(i, row) for i, row in enumerate(report["rows"]) if row["accuracy"] and row["p50"].get("value")]
    scored = [(i, row) for i, row in scored if row["accuracy"]["value"] is not None]
    if not scored:
        return None
    metric = scored[0][1]["accuracy"]["metric"]
    found = [(i, row) for i, row in scored if row["accuracy"]["metric"] == metric]  # one axis, one metric
    rows, name = [row for _, row in found], wording.metric_name(metric)
    layout = {
        "xaxis": log_axis("p50 latency, ms", [row["p50"]["value"] for row in rows]),
        "yaxis": axis(name, tickformat="" if "cosine" in metric else ".1%"),
        "hovermode": "closest",
    }
    caption = (
        f"{name} against p50 latency; the area is the size of the file. Bars are 95 % intervals; upper left is better. "
        "The dotted line joins those that no other beats in both."
    )
    told = "; ".join(f"{r['target']}: {r['p50']['value']:.3g} ms, {r['accuracy']['value']:.4g}" for r in rows)
    points = [_point(place, row, _across(row, rows)) for place, row in found]
    chart = Chart(caption, told, [_front(rows), *points], _numbers(rows, metric), layout, 420, again(report, "run"))
    return Part("pareto", "Accuracy and latency", figures(figure(chart)))


def unbeaten(rows: Sequence[Row]) -> list[Row]:
    """Those than which no other is both faster and more accurate, the fastest first."""
    best, found = -math.inf, []
    for row in sorted(rows, key=lambda row: (row["p50"]["value"], -row["accuracy"]["value"])):
        if row["accuracy"]["value"] > best:
            best = row["accuracy"]["value"]
            found.append(row)
    return found


def _front(rows: Sequence[Row]) -> dict[str, Any]:
    front = unbeaten(rows)
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [row["p50"]["value"] for row in front],
        "y": [row["accuracy"]["value"] for row in front],
        "line": {"color": "var(--soft)", "width": 1.5, "dash": "dot", "shape": "hv"},
        "hoverinfo": "skip",
        "showlegend": False,
    }


def _across(row: Row, rows: Sequence[Row]) -> float:
    """The diameter in px: the area goes with the size."""
    largest = max(other["size_bytes"] or 0 for other in rows)
    return max(LEAST, MOST * math.sqrt((row["size_bytes"] or 0) / largest)) if largest else LEAST


def _point(place: int, row: Row, across: float) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": row["target"],
        "x": [row["p50"]["value"]],
        "y": [row["accuracy"]["value"]],
        "error_x": _ends(row["p50"], place),
        "error_y": _ends(row["accuracy"], place),
        "hovertext": f"{row['target']}, {wording.size(row['size_bytes'])}",
        "hoverinfo": "x+y+text",
        "marker": {
            "color": colour(place, 0.45),
            "size": across,
            "symbol": SYMBOLS[place % len(SYMBOLS)],
            "line": {"color": colour(place), "width": 1.5},
        },
    }


def _ends(found: Mapping[str, Any], place: int) -> dict[str, Any]:
    value, low, high = found["value"], found.get("low"), found.get("high")
    return {
        "type": "data",
        "symmetric": False,
        "array": [(high - value) if high is not None else 0.0],
        "arrayminus": [(value - low) if low is not None else 0.0],
        "color": colour(place),
        "thickness": 1.2,
        "width": 3,
    }


def _numbers(rows: Sequence[Row], metric: str) -> str:
    body = [
        [
            escape(row["target"]),
            cell(row["p50"], wording.milliseconds),
            cell(row["accuracy"], lambda value: wording.metric(value, metric)),
            wording.size(row["size_bytes"]),
        ]
        for row in rows
    ]
    return table(("Target", "p50, ms", wording.metric_name(metric), "Size"), body, "Accuracy and latency")
