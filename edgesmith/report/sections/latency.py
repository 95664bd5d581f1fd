"""How the latencies of every target are distributed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from edgesmith.report import wording
from edgesmith.report.chart import Chart, axis, figure, figures, line, log_axis
from edgesmith.report.commands import again
from edgesmith.report.markup import Part, table

QUANTILES = (0.0, 0.1, 0.5, 0.9, 0.99, 1.0)
HEAD = ("Target", "min", "p10", "p50", "p90", "p99", "max", "samples")
MARKS = {0.0: "0", 0.5: "p50", 0.9: "p90", 0.99: ""}
CAPTION = "Share of the runs that took at most so long. A steep line is a steady target; where it leans is the tail."
POINTS = 160  # of a line; more are thinned, but for the slowest


def section(report: Mapping[str, Any]) -> Part | None:
    """The cumulative distribution of every target's runs."""
    places = {row["target"]: place for place, row in enumerate(report["rows"])}
    timed = {name: np.sort(np.asarray(found, float)) for name, found in report["latency"].items() if found}
    if not timed:
        return None
    lines = [_line(name, values, places.get(name, 0)) for name, values in timed.items()]
    told = "; ".join(f"{name}: median {np.median(values):.3g} ms" for name, values in timed.items())
    every = np.concatenate(list(timed.values()))
    # A little past the slowest p99, so that one hiccup of the machine does not squeeze all the rest.
    end = 1.08 * max(float(np.quantile(values, 0.99)) for values in timed.values())
    along = log_axis("ms a run", [float(every.min()), end])
    start = 0.0 if "type" not in along else float(np.log10(every.min() / 1.15))
    along["range"] = [start, end if "type" not in along else float(np.log10(end))]
    up = axis("", range=[0, 1.02], tickvals=list(MARKS), ticktext=list(MARKS.values()))
    numbers = table(HEAD, [_row(name, values) for name, values in timed.items()], "Latency, ms")
    chart = Chart(CAPTION, told, lines, numbers, {"xaxis": along, "yaxis": up}, again=again(report, "bench"))
    return Part("latency", "Latency of every run", figures(figure(chart)))


def _line(name: str, values: np.ndarray, place: int) -> dict[str, Any]:
    share = np.arange(1, len(values) + 1) / len(values)
    kept = np.unique(np.linspace(0, len(values) - 1, min(len(values), POINTS)).astype(int))
    kept = np.union1d(kept, np.arange(max(len(values) - 10, 0), len(values)))  # the slowest as they are
    found = line(name, values[kept].tolist(), share[kept].tolist(), place)
    found["line"] = {**found["line"], "shape": "hv"}
    return found


def _row(name: str, values: Sequence[float] | np.ndarray) -> list[str]:
    numbers = [wording.milliseconds(float(v)) for v in np.quantile(values, QUANTILES)]
    return [escape(name), *numbers, f"{len(values):,}"]
