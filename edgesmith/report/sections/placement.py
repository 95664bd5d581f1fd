"""Where the work of each target is done, and in which type: bars, and a table that tells silent moves."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from edgesmith.report import wording
from edgesmith.report.chart import Chart, axis, bars, figure, figures
from edgesmith.report.commands import again
from edgesmith.report.markup import Part, table

HEAD = ("Target", "Asked for", "In which types", "On which units", "Partitions", "Copies", "GMAC", "GMAC/s", "By")
SHARES = {"share_by_precision": "type", "share_by_unit": "unit"}
ROW_HEIGHT, FRAME_HEIGHT = 34, 110  # px


def section(report: Mapping[str, Any]) -> Part | None:
    """A bar a target by type and by unit; None where no runtime told."""
    placed = {name: one for name, one in report.get("placement", {}).items() if one["share_by_precision"]}
    if not placed:
        return None
    drawn = [figure(_chart(report, placed, key, word)) for key, word in SHARES.items()]
    body = figures(*drawn) + table(HEAD, [_row(report, *pair) for pair in placed.items()], "Placement", 4)
    return Part("placement", "Placement", body, "shares of the multiply-accumulates, as the runtimes say")


def _chart(report: Mapping[str, Any], placed: Mapping[str, Any], key: str, word: str) -> Chart:
    kinds = list(dict.fromkeys(kind for one in placed.values() for kind in one[key]))
    traces = [
        bars(kind, [one[key].get(kind, 0.0) for one in placed.values()], list(placed), index, orientation="h")
        for index, kind in enumerate(kinds)
    ]
    layout = {
        "barmode": "stack",
        "xaxis": axis("", range=[0, 1.01], tickformat=".0%", tickvals=[0, 0.25, 0.5, 0.75, 1]),
        "yaxis": axis("", autorange="reversed", type="category"),
        "showlegend": True,  # one kind alone has to be named too
    }
    told = "; ".join(f"{name}: {_shares(one[key])}" for name, one in placed.items())
    height = FRAME_HEIGHT + ROW_HEIGHT * len(placed)
    return Chart(f"Share of the work by {word}.", told, traces, "", layout, height, again(report, "outputs"))


def _row(report: Mapping[str, Any], name: str, one: Mapping[str, Any]) -> list[str]:
    asked = " on ".join(filter(None, (one["asked"], one["asked_unit"]))) or "–"
    size = f"{wording.size(one['copied_bytes'])}" if one["copied_bytes"] is not None else "size not known"
    copies = f"{one['copies']}, {size}" if one["copies"] else "0"
    macs = sum(layer["macs"] for layer in one["layers"])
    p50 = next((row["p50"].get("value") for row in report["rows"] if row["target"] == name), None)
    batch = next((row["batch"] for row in report["rows"] if row["target"] == name), None) or 1
    rate = wording.number(macs * batch / p50 / 1e6) if macs and p50 else "–"
    shares = (f'<div class="kinds">{escape(_shares(one[key]))}</div>' for key in SHARES)
    words = [f"{one['partitions']}", escape(copies), wording.number(macs / 1e9) if macs else "–", rate]
    return [escape(name), escape(asked), *shares, *words, f'<span class="soft">{escape(one["source"])}</span>']


def _shares(shares: Mapping[str, float]) -> str:
    ordered = sorted(shares.items(), key=lambda pair: -pair[1])
    return ", ".join(f"{kind} {wording.percent(share)}" for kind, share in ordered)
