"""The figures of the page: a caption, a plot, and the table behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from edgesmith.report import plots, wording
from edgesmith.report.markup import cell, table

MOST_CURVES = 8
NO_CURVES = ("seconds", "size", "samples", "step")  # bookkeeping: in the table, not worth a plot
QUANTILES = (0.0, 0.1, 0.5, 0.9, 0.99, 1.0)


def overview(report: Mapping[str, Any]) -> str:
    """Accuracy against latency, and the distribution of the latencies; "" when nothing was timed."""
    colours = {row["target"]: place for place, row in enumerate(report["rows"])}
    shown = [_scatter(report["rows"]), _strips(report["latency"], colours)]
    figures = [figure for figure in shown if figure]
    return f'<h2>Accuracy and latency</h2><div class="plots">{"".join(figures)}</div>' if figures else ""


def training(steps: Mapping[str, Any]) -> str:
    """Small plots of every series of every step, and one table a step."""
    parts = []
    for name, curves in steps.items():
        if len(curves["x"]) == 0:
            continue
        plotted = [
            (key, values)
            for key, values in curves["series"].items()
            if key not in NO_CURVES and sum(v is not None for v in values) > 1
        ]
        drawn = [
            f"<figure><figcaption>{escape(key)}</figcaption>{plots.curve(key, curves['x'], values, i)}</figure>"
            for i, (key, values) in enumerate(plotted[:MOST_CURVES])
        ]
        parts.append(f'<h3>{escape(name)}</h3><div class="plots three">{"".join(drawn)}</div>{_epochs(name, curves)}')
    return f"<h2>Training</h2>{''.join(parts)}" if parts else ""


def _figure(caption: str, plot: str, numbers: str) -> str:
    return (
        f"<figure><figcaption>{escape(caption)}</figcaption>"
        f'<div class="box" role="region" aria-label="{escape(caption)}" tabindex="0">{plot}</div>'
        f"<details><summary>The numbers behind this plot</summary>{numbers}</details></figure>"
    )


def _scatter(rows: Sequence[Mapping[str, Any]]) -> str:
    scored = [(i, row) for i, row in enumerate(rows) if row["accuracy"] and row["accuracy"]["value"] is not None]
    usable = [(i, row) for i, row in scored if row["p50"].get("value") is not None]
    if not usable:
        return ""
    metric = usable[0][1]["accuracy"]["metric"]
    usable = [(i, row) for i, row in usable if row["accuracy"]["metric"] == metric]  # one axis, one metric
    points = [plots.Point(row["target"], i, _triple(row["p50"]), _triple(row["accuracy"])) for i, row in usable]
    name = wording.metric_name(metric)
    body = [
        [
            escape(row["target"]),
            cell(row["p50"], wording.milliseconds),
            cell(row["accuracy"], lambda value: wording.metric(value, metric)),
        ]
        for _, row in usable
    ]
    numbers = table(("Target", "p50, ms", name), body, "Accuracy and latency")
    caption = f"{name} against p50 latency. Bars are 95 % intervals; upper left is better."
    return _figure(caption, plots.scatter(points, name, percent="cosine" not in metric), numbers)


def _triple(cell: Mapping[str, Any]) -> tuple[float, float, float]:
    value = float(cell["value"])
    low, high = cell.get("low"), cell.get("high")
    return value, value if low is None else float(low), value if high is None else float(high)


def _strips(latency: Mapping[str, Sequence[float]], colours: Mapping[str, int]) -> str:
    timed = {name: samples for name, samples in latency.items() if samples}
    if not timed:
        return ""
    body = []
    for name, samples in timed.items():
        numbers = [wording.milliseconds(float(v)) for v in np.quantile(samples, QUANTILES)]
        body.append([escape(name), *numbers, f"{len(samples):,}"])
    head = ("Target", "min", "p10", "p50", "p90", "p99", "max", "samples")
    caption = "Every timed run. A hair line is one run, the band holds the middle 80 %, the bar is the median."
    return _figure(caption, plots.strips(timed, colours), table(head, body, "Latency, ms"))


def _epochs(name: str, curves: Mapping[str, Any]) -> str:
    keys = list(curves["series"])
    body = [
        [f"{x:g}", *(wording.number(curves["series"][key][i], 4) for key in keys)] for i, x in enumerate(curves["x"])
    ]
    numbers = table(("epoch", *keys), body, f"Epochs of {name}")
    return f"<details><summary>The numbers of {escape(name)}</summary>{numbers}</details>"
