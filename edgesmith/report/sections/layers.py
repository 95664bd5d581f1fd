"""Where the time of each target goes, by the module paths of the original."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from edgesmith.report import wording
from edgesmith.report.chart import Chart, axis, bars, figure, figures
from edgesmith.report.commands import again
from edgesmith.report.layers import NO_LAYER
from edgesmith.report.markup import Part, cell, table

Row = Mapping[str, Any]
HEAD = ("Layer", "Operators", "Computed with it", "ms a run", "Share")
SHOWN = 40  # layers of a plot: the slowest; the table has every one
ROW_HEIGHT, FRAME_HEIGHT = 17, 120  # px


def section(report: Mapping[str, Any]) -> Part | None:
    """Bars by layer for every target whose runtime was asked, and a table a target; None where none was."""
    found = {name: one for name, one in report.get("layers", {}).items() if one.get("rows")}
    if not found:
        return None
    slowest = _slowest(found)
    places = {row["target"]: place for place, row in enumerate(report["rows"])}
    traces = [_bars(name, one["rows"], slowest, places.get(name, 0)) for name, one in found.items()]
    left = len({row["layer"] for one in found.values() for row in one["rows"]}) - len(slowest)
    caption = "Time a run by layer, from each runtime's own profiler, which slows the run; in the order of execution."
    caption += f" The {len(slowest)} slowest; {left} more stand in the tables." if left else ""
    layout = {
        "barmode": "group",
        "xaxis": axis("ms a run", rangemode="tozero"),
        "yaxis": axis("", autorange="reversed", type="category"),
    }
    height = FRAME_HEIGHT + ROW_HEIGHT * len(slowest) * max(1, len(found) // 2 + 1)
    told = "; ".join(f"{name}: {_first(one['rows'])}" for name, one in found.items())
    numbers = "".join(_table(name, one) for name, one in found.items())
    chart = Chart(caption, told, traces, numbers, layout, height, again(report, "bench"))
    return Part("layers", "Time by layer", figures(figure(chart)))


def _slowest(found: Mapping[str, Any]) -> list[str]:
    """Layers by the most they take on any target, in the order of execution of the target that has most of them."""
    most: dict[str, float] = {}
    for one in found.values():
        for row in one["rows"]:
            most[row["layer"]] = max(most.get(row["layer"], 0.0), row["ms"]["value"])
    kept = set(sorted(most, key=lambda layer: -most[layer])[:SHOWN])
    order = max((one["rows"] for one in found.values()), key=len)
    names = dict.fromkeys([row["layer"] for row in order] + list(most))
    return [name for name in names if name in kept]


def _bars(name: str, rows: Sequence[Row], layers: Sequence[str], place: int) -> dict[str, Any]:
    taken: dict[str, float] = {}
    for row in rows:
        taken[row["layer"]] = taken.get(row["layer"], 0.0) + row["ms"]["value"]
    times = [taken.get(layer) for layer in layers]
    return bars(name, times, [layer or NO_LAYER for layer in layers], place, orientation="h")


def _first(rows: Sequence[Row]) -> str:
    slowest = max(rows, key=lambda row: float(row["ms"]["value"]))
    share = wording.percent(slowest["share"])
    return f"most in {slowest['layer'] or NO_LAYER}, {share}"


def _table(name: str, found: Mapping[str, Any]) -> str:
    rows = [
        [
            escape(row["layer"] or NO_LAYER),
            escape(row["op"]),
            escape(", ".join(row["members"])),
            cell(row["ms"], wording.milliseconds),
            wording.percent(row["share"]),
        ]
        for row in found["rows"]
    ]
    about = f"{name}: {found['source']}, {found['runs']} runs, {wording.percent(found['mapped'])} in named layers"
    return f"<p>{escape(about)}</p>{table(HEAD, rows, f'Time by layer of {name}', 3)}"
