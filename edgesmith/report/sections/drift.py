"""Where each target leaves the original, by the module paths of the user."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from edgesmith.report import wording
from edgesmith.report.chart import Chart, axis, figure, figures, line
from edgesmith.report.commands import again
from edgesmith.report.markup import Part, table

Row = Mapping[str, Any]
HEAD = ("Layer", "Operator", "Computed with it", "SQNR, dB", "Cosine", "Local SQNR, dB", "Local cosine", "Excess")
CAPTION = "Signal over noise by layer beside the original, in the order of the model; higher is closer to it."


def section(report: Mapping[str, Any]) -> Part | None:
    """Lines by layer, the suspects in words and a table a target; None where nothing was compared by layer."""
    found = report.get("drift") or ()
    if not found:
        return None
    plots = ""
    if traces := [trace for place, one in enumerate(found) for trace in _lines(one, place)]:
        told = "; ".join(f"{one['target']}: {_first(one)}" for one in found)
        layout = {"xaxis": axis("", type="category"), "yaxis": axis("SQNR, dB")}
        plots = figures(
            figure(Chart(CAPTION, told, traces, "".join(map(_table, found)), layout, 440, again(report, "")))
        )
    return Part("drift", "Drift by layer", "".join(map(_said, found)) + plots)


def _lines(one: Mapping[str, Any], place: int) -> list[dict[str, Any]]:
    """Propagated as a line, local as points of the same colour; what was not measured has none."""
    rows = one["layers"]
    if not rows:
        return []
    layers = [row["layer"] for row in rows]
    traces = [line(f"{one['target']} propagated", layers, [row["sqnr_db"] for row in rows], place)]
    local = [row["local_sqnr_db"] for row in rows]
    if any(value is not None for value in local):
        traces.append(line(f"{one['target']} local", layers, local, place) | {"mode": "markers"})
    return traces


def _first(one: Mapping[str, Any]) -> str:
    """The first layer, in the order of the model, that its precision does not explain."""
    if not one["layers"]:
        return "not measured"
    if all(row["local_sqnr_db"] is None for row in one["layers"]):
        return "where it leaves the original is not measured"
    under = {suspect["layer"] for suspect in one["suspects"]}
    first = next((row["layer"] for row in one["layers"] if row["layer"] in under), None)
    return (
        f"it leaves the original first at {first}" if first else "no layer is further off than its precision explains"
    )


def _said(one: Mapping[str, Any]) -> str:
    about = f"{one['target']} ({one['engine']}, {one['samples']} samples): {_first(one)}."
    causes = [f"{s['layer']}: {s['cause'] or 'the cause cannot be told'}; {s['evidence']}" for s in one["suspects"][:5]]
    items = "".join(f"<li>{escape(text)}</li>" for text in (*causes, *one["notes"]))
    return f"<p>{escape(about)}</p>" + (f"<ul>{items}</ul>" if items else "")


def _table(one: Mapping[str, Any]) -> str:
    return table(HEAD, map(_cells, one["layers"]), f"Drift by layer of {one['target']}", 3) if one["layers"] else ""


def _cells(row: Row) -> Sequence[str]:
    names = [escape(row["layer"]), escape(row["op"]), escape(", ".join(row["members"]))]
    values = (row[key] for key in ("sqnr_db", "cosine", "local_sqnr_db", "local_cosine", "excess"))
    return [*names, *("–" if value is None else wording.number(value, 4) for value in values)]
