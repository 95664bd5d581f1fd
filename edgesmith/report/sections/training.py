"""The curves of every training stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from edgesmith.report import wording
from edgesmith.report.chart import LOW, Chart, axis, figure, figures, line
from edgesmith.report.commands import again
from edgesmith.report.markup import Part, note, table

MOST_CURVES = 9
NO_CURVES = ("seconds", "size", "samples", "step")  # bookkeeping: in the table, not worth a plot


def section(report: Mapping[str, Any]) -> Part | None:
    """Small plots of every series of every stage, and one table a stage."""
    parts = []
    for stage, curves in report["training"].items():
        if len(curves["x"]) == 0:
            continue
        plotted = [
            (key, values)
            for key, values in curves["series"].items()
            if key not in NO_CURVES and sum(v is not None for v in values) > 1
        ]
        drawn = [curve(key, curves["x"], values, i) for i, (key, values) in enumerate(plotted[:MOST_CURVES])]
        numbers = f"<details><summary>The numbers of {escape(stage)}</summary>{_epochs(stage, curves)}</details>"
        made = again(report, f"train-{stage}")
        parts.append(f"<h3>{escape(stage)}</h3>{figures(*drawn, narrow=True)}{numbers}" + note(made))
    return Part("training", "Training", "".join(parts)) if parts else None


def curve(title: str, x: Sequence[float], y: Sequence[float | None], index: int = 0, along: str = "epoch") -> str:
    """One series over the epochs; gaps stay gaps."""
    values = [value for value in y if value is not None]
    told = f"From {values[0]:.4g} to {values[-1]:.4g} over {len(values)} epochs."
    drawn = line(title, x, y, index, showlegend=False) | {"mode": "lines+markers", "marker": {"size": 5}}
    layout = {"xaxis": axis(along), "yaxis": axis()}
    return figure(Chart(f"{title}: {wording.number(values[-1])} at the end", told, [drawn], layout=layout, height=LOW))


def _epochs(name: str, curves: Mapping[str, Any]) -> str:
    keys = list(curves["series"])
    body = [
        [f"{x:g}", *(wording.number(curves["series"][key][i], 4) for key in keys)] for i, x in enumerate(curves["x"])
    ]
    return table(("epoch", *keys), body, f"Epochs of {name}")
