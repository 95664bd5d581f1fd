"""One self-contained page from a report: no network, no script, every text escaped."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from edgesmith import records
from edgesmith.report import corrections, figures, search, wording
from edgesmith.report.markup import cell, chip, folded, small, table, verbatim

Report = Mapping[str, Any]
COLUMNS = ("Verdict", "{metric}", "Drop, points", "p50, ms", "p90, ms", "p99, ms", "× {reference}", "× best float")
LAST_COLUMNS = ("Size", "Load, ms")


def render(report: Report) -> str:
    """The page as text. The report is what collect() made, or the same read back from JSON."""
    template = Template(resources.files("edgesmith.report").joinpath("template.html").read_text(encoding="utf-8"))
    verdict, date = report["verdict"], report["provenance"].get("date", "")
    sections = (
        _targets(report),
        _verdicts(report["verdicts"]),
        figures.overview(report),
        search.section(report.get("search")),
        figures.training(report["training"]),
        _accuracies(report["accuracies"]),
        _agreements(report["agreements"]),
        corrections.section(report.get("corrections", ())),
        _gaps(report),
        _provenance(report["provenance"]),
    )
    return template.substitute(
        title=escape(report["title"]),
        date=escape(f", {date}" if date else ""),
        state=escape(verdict["state"]),
        word=escape(verdict["word"]),
        line=escape(verdict["line"]),
        details=_details(verdict["details"]),
        facts=_facts(report),
        sections="\n".join(section for section in sections if section),
    )


def write(path: Path, report: Report) -> None:
    """Write the page, whole or not at all."""
    records.write_bytes(path, render(report).encode())


def _details(found: Sequence[str]) -> str:
    """The verdicts that decided, the first four of them; the rest stands in the table of verdicts."""
    shown = [wording.question(text) for text in found[:4]]
    shown += [f"and {len(found) - 4} more, below"] if len(found) > 4 else []
    return f'<ul class="decided">{"".join(f"<li>{escape(text)}</li>" for text in shown)}</ul>' if shown else ""


def _facts(report: Report) -> str:
    device, drift = report["device"], report["sentinel_drift"]
    found = [("Reference", report["reference"] or "none")]
    if device:
        memory = f"{device['memory_bytes'] / 2**30:.0f} GiB"
        found += [
            ("Device", device["name"]),
            ("Processor", f"{device['cpu']}, {device['cores']} cores, {device['instruction_set']}"),
            ("Memory", memory),
            ("System", f"{device['os']}, Python {device['python']}"),
        ]
        found += [("Accelerator", device["accelerator"])] if device.get("accelerator") else []
        found += [("Clock governor", device["governor"])] if device.get("governor") else []
        found.append(("Machine's own drift", wording.percent(drift) if drift is not None else "not measured"))
    return f'<dl class="facts">{"".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in found)}</dl>'


def _targets(report: Report) -> str:
    metrics = list(dict.fromkeys(row["accuracy"]["metric"] for row in report["rows"] if row["accuracy"]))
    metric = wording.metric_name(metrics[0]) if len(metrics) == 1 else "Accuracy"
    names = {"metric": metric, "reference": report["reference"] or "reference"}
    head = ["Target", *(column.format(**names) for column in COLUMNS), *LAST_COLUMNS]
    rows = [_target(row, len(metrics) > 1) for row in report["rows"]]
    legend = "Small print is the 95 % interval. A × says how many times faster."
    text = f'<h2 id="targets">Targets</h2><p class="soft">{legend}</p>'
    if any(row["overhead"] for row in report["rows"]):
        text += (
            f'<p class="soft">† p50 under {report["overhead_ms"]:g} ms: here the overhead of the call dominates, '
            "so a ratio says little about the model.</p>"
        )
    return text + table(head, rows, "Targets", numeric_from=2, kind="main")


def _target(row: Mapping[str, Any], name_metric: bool) -> list[str]:
    score = row["accuracy"]
    metric = score["metric"] if score else ""
    shown = cell(score, lambda value: wording.metric(value, metric))
    if name_metric:
        shown += small(metric)
    mark = ' <abbr title="call overhead dominates">†</abbr>' if row["overhead"] else ""
    optional = "" if row["required"] or row["state"] == "reference" else "optional"
    executed = " ".join(filter(None, (row["precision"], row["engine"])))
    why = f'<small class="soft why">{escape(wording.question(row["reason"]))}</small>' if row["reason"] else ""
    later, peak = row["later_load_ms"], row["peak_bytes"]
    if not row["samples"] and score is None:  # nothing but a reason: it gets the whole row
        size = f"{wording.size(row['size_bytes'])} as exported" if row["size_bytes"] else ""
        return [escape(row["target"]) + small(" ".join(filter(None, (optional, size)))), chip(row["state"]) + why]
    return [
        escape(row["target"]) + mark + small(optional) + small(executed),
        chip(row["state"]) + why,
        shown,
        cell(row["drop"], wording.points),
        # One that was never timed says so once, by its verdict; a gap in a timed one says so in its cell.
        *(cell(row[name] if row["samples"] else None, wording.milliseconds) for name in ("p50", "p90", "p99")),
        *(cell(row[name] if row["samples"] else None, wording.times) for name in ("speedup", "speedup_float")),
        wording.size(row["size_bytes"]) + small(f"peak {wording.size(peak)}" if peak else ""),
        wording.milliseconds(row["load_ms"]) + small(f"later {wording.milliseconds(later)}" if later else ""),
    ]


def _verdicts(verdicts: Sequence[Mapping[str, Any]]) -> str:
    if not verdicts:
        return ""
    rows = [
        [
            escape(v["target"]),
            chip(v["state"]),
            f'<div class="wrap">{escape(wording.question(v["asked"]))}</div>',
            f'<div class="wrap">{escape(v["found"])}</div>',
            f"{v['more']:,}" if v["more"] else "–",
        ]
        for v in verdicts
    ]
    head = ("Target", "Verdict", "Asked", "Found", "Samples more to decide")
    return folded("Verdicts", f"{len(rows)} questions", table(head, rows, "Verdicts", 4), is_open=len(rows) <= 8)


def _accuracies(accuracies: Sequence[Mapping[str, Any]]) -> str:
    if not accuracies:
        return ""
    rows = []
    for a in accuracies:
        extra = ", ".join(f"{name} {wording.number(value)}" for name, value in a["extra"].items())
        shown = cell(a["estimate"] if a["n"] else {"not_measured": "too few samples or pairs"}, _as_metric(a["metric"]))
        start = [escape(a["target"]), escape(wording.metric_name(a["metric"])), shown, cell(a["drop"], wording.points)]
        rows.append([*start, f"{a['n']:,}", f'<span class="soft">{escape(extra)}</span>'])
    head = ("Target", "Metric", "Estimate", "Drop, points", "Samples", "Also")
    return folded("Accuracy", "every metric of every target", table(head, rows, "Accuracy", 2))


def _as_metric(name: str) -> Callable[[float | None], str]:
    return lambda value: wording.metric(value, name)


def _agreements(agreements: Sequence[Mapping[str, Any]]) -> str:
    if not agreements:
        return ""
    rows = []
    for a in agreements:
        name, n = f"{escape(a['target'])}", f"{a['n']:,}"
        if a["problem"]:
            rows.append([name, escape(a["output"]), f'<div class="wrap">{escape(a["problem"])}</div>', *["–"] * 5, n])
            continue
        cosines = (cell(a[key], _as_metric("cosine")) for key in ("cosine", "cosine_p1", "cosine_min"))
        others = (cell(a["max_abs"], wording.number), cell(a["sqnr_db"], wording.number))
        rows.append([name, escape(a["output"]), cell(a["top1"], wording.percent), *cosines, *others, n])
    head = (
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
    return folded("Agreement with the original", "without labels", table(head, rows, "Agreement", 2))


def _gaps(report: Report) -> str:
    text = ""
    if report["not_measured"]:
        rows = [[escape(g["target"]), escape(g["what"]), escape(g["reason"])] for g in report["not_measured"]]
        text += folded(
            "Not measured", f"{len(rows)} gaps and why", table(("Target", "What", "Why"), rows, "Not measured", 9)
        )
    if report["skipped"]:
        rows = [[escape(name)] for name in report["skipped"]]
        text += folded("Skipped inputs", f"{len(rows)} of them", table(("Input",), rows, "Skipped inputs"))
    return text


def _provenance(provenance: Mapping[str, Any]) -> str:
    parts = []
    if command := provenance.get("command"):
        parts.append(f"<h3>Command</h3>{verbatim(command, 'Command')}")
    if recipe := provenance.get("recipe"):
        parts.append(f"<h3>Recipe</h3>{verbatim(recipe, 'Recipe')}")
    for key in (k for k in provenance if k not in ("command", "recipe", "date")):
        values = provenance[key]
        if not isinstance(values, Mapping):
            values = {key: values}
        rows = [[escape(str(name)), f"<code>{escape(str(value))}</code>"] for name, value in values.items()]
        parts.append(f"<h3>{escape(key.capitalize())}</h3>{table(('Name', 'Value'), rows, key, 9)}")
    return folded("Provenance", "recipe, versions, digests, command", "".join(parts)) if parts else ""
