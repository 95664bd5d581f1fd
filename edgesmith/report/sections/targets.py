"""The main table: a row a target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from edgesmith.report import wording
from edgesmith.report.markup import Part, cell, chip, small, table

COLUMNS = (
    "Verdict",
    "Runs in",
    "{metric}",
    "Drop, points",
    "p50, ms",
    "p90, ms",
    "p99, ms",
    "× {reference}",
    "× best float",
    "Size",
    "Load, ms",
)
LEGEND = "Small print is the 95 % interval. A × says how many times faster."


def section(report: Mapping[str, Any]) -> Part:
    """The table and what a reader must know of it."""
    metrics = list(dict.fromkeys(row["accuracy"]["metric"] for row in report["rows"] if row["accuracy"]))
    metric = wording.metric_name(metrics[0]) if len(metrics) == 1 else "Accuracy"
    names = {"metric": metric, "reference": report["reference"] or "reference"}
    head = ["Target", *(column.format(**names) for column in COLUMNS)]
    rows = [_target(row, report, len(metrics) > 1) for row in report["rows"]]
    text = f'<p class="soft">{LEGEND}</p>{_scenario(report["rows"])}'
    if any(row["overhead"] for row in report["rows"]):
        text += (
            f'<p class="soft">† p50 under {report["overhead_ms"]:g} ms: here the overhead of the call dominates, '
            "so a ratio says little about the model.</p>"
        )
    return Part("targets", "Targets", text + table(head, rows, "Targets", numeric_from=3, kind="main"))


def _scenario(rows: Sequence[Mapping[str, Any]]) -> str:
    """What a time is where it is not that of one call after another, and the rows answered a second."""
    timed = [row for row in rows if row.get("scenario") not in (None, "single-stream")]
    if not timed:
        return ""
    rates = "; ".join(
        f"{row['target']} {wording.number(row['rows_per_s'])}" for row in timed if row.get("rows_per_s") is not None
    )
    told = f"Times are of the scenario {timed[0]['scenario']}." + (f" Rows a second: {rates}." if rates else "")
    return f'<p class="soft">{escape(told)}</p>'


def _target(row: Mapping[str, Any], report: Mapping[str, Any], name_metric: bool) -> list[str]:
    optional = "" if row["required"] or row["state"] == "reference" else "optional"
    if not row["samples"] and row["accuracy"] is None:  # nothing but a reason: it gets the whole row
        size = f"{wording.size(row['size_bytes'])} as exported" if row["size_bytes"] else ""
        return [escape(row["target"]) + small(" ".join(filter(None, (optional, size)))), _state(row)]
    later, peak = row["later_load_ms"], row["peak_bytes"]
    mark = ' <abbr title="call overhead dominates">†</abbr>' if row["overhead"] else ""
    return [
        escape(row["target"]) + mark + small(optional) + small(row["engine"]),
        _state(row),
        _runs_in(row, report.get("placement", {}).get(row["target"])),
        _score(row["accuracy"], name_metric),
        cell(row["drop"], wording.points),
        # One that was never timed says so once, by its verdict; a gap in a timed one says so in its cell.
        *(cell(row[name] if row["samples"] else None, wording.milliseconds) for name in ("p50", "p90", "p99")),
        *(cell(row[name] if row["samples"] else None, wording.times) for name in ("speedup", "speedup_float")),
        wording.size(row["size_bytes"]) + small(f"memory {wording.size(peak)}" if peak else ""),
        wording.milliseconds(row["load_ms"]) + small(f"later {wording.milliseconds(later)}" if later else ""),
    ]


def _state(row: Mapping[str, Any]) -> str:
    why = f'<small class="soft why">{escape(wording.question(row["reason"]))}</small>' if row["reason"] else ""
    return chip(row["state"]) + why


def _score(score: Mapping[str, Any] | None, name_metric: bool) -> str:
    metric = score["metric"] if score else ""
    shown = cell(score, lambda value: wording.metric(value, metric))
    return shown + small(metric) if name_metric else shown


def _runs_in(row: Mapping[str, Any], placed: Mapping[str, Any] | None) -> str:
    """The precision that was executed: by shares of the work where the runtime tells, else as the engine says."""
    if not placed or not placed["share_by_precision"]:
        return escape(row["precision"] or "–")
    shares = sorted(placed["share_by_precision"].items(), key=lambda pair: -pair[1])
    (first, most), others = shares[0], shares[1:]
    rest = ", ".join(f"{name} {wording.percent(share)}" for name, share in others if share >= 0.0005)
    told = f"{wording.percent(most)} of the work, {rest}" if rest else "all of the work"
    return f'{escape(first)}<small class="soft kinds">{escape(told)}</small>'
