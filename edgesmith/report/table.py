"""The rows of a report as plain text and as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from edgesmith.report import wording

HEADER = ("target", "verdict", "runs in", "accuracy", "drop", "p50 ms", "p99 ms", "× reference", "× best float", "size")
# Checks that no sample was drawn for, or that are judged apart from the limits: verify/gate.py counts neither.
EXACT = ("runs", "placement", "baseline")
TEXT_COLUMNS = 3  # the first ones; numbers follow, aligned to the right


def lines(report: Mapping[str, Any]) -> list[str]:
    """A table in aligned columns, with the verdict before it and the notes after it."""
    cells = [HEADER, *(_cells(row) for row in report["rows"])]
    widths = [max(len(row[i]) for row in cells) for i in range(len(HEADER))]
    table = ["  ".join(_pad(text, width, i) for i, (text, width) in enumerate(zip(row, widths))) for row in cells]
    table.insert(1, "  ".join("-" * width for width in widths))
    return [headline(report), "", *(line.rstrip() for line in table), *notes(report)]


def markdown(report: Mapping[str, Any]) -> str:
    """The same table in GitHub's Markdown."""
    rows = [HEADER, tuple("---" if i < TEXT_COLUMNS else "---:" for i in range(len(HEADER)))]
    rows += [tuple(_escape(cell) for cell in _cells(row)) for row in report["rows"]]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return "\n\n".join([f"**{_escape(headline(report))}**", table, *map(_escape, notes(report))]) + "\n"


def headline(report: Mapping[str, Any]) -> str:
    """The verdict of the run in one line."""
    verdict = report["verdict"]
    return f"{verdict['word']}: {verdict['line']}" + (f" {verdict['details'][0]}." if verdict["details"] else "")


def notes(report: Mapping[str, Any]) -> list[str]:
    """What a reader of the table must know: the machine, the metric, where call overhead dominates."""
    found = []
    if device := report.get("device"):
        found.append(f"On {device['cpu'] or device['name']}, {device['cores']} cores, {device['os']}.")
    if original := report["provenance"].get("original"):
        found.append(f"{original[0].upper()}{original[1:]}.")
    metrics = list(dict.fromkeys(row["accuracy"]["metric"] for row in report["rows"] if row["accuracy"]))
    if metrics:
        names = " or ".join(wording.metric_name(metric) for metric in metrics)
        found.append(f"Accuracy: {names}; drop is in percentage points, with its 95 % interval.")
    found += filter(None, [comparisons(report)])
    if any(row["overhead"] for row in report["rows"]):
        limit = report["overhead_ms"]
        found.append(f"† p50 under {limit:g} ms: call overhead dominates, so a ratio says little about the model.")
    found += _kept(report["accuracies"]) + _energy(report)
    return found + [_agreement(row) for row in report["agreements"]] + _reasons(report["rows"])


def comparisons(report: Mapping[str, Any]) -> str:
    """What the number of questions asks of an interval, in one sentence; "" for one question or none."""
    estimated = [v for v in report["verdicts"] if not v["check"].startswith(EXACT)]
    questions = sum(v["state"] != "not_measured" for v in estimated)
    if questions < 2:
        return ""
    return f"{questions} questions in one run: a fail needs an interval of {100 - 5 / questions:.4g} % (Bonferroni)."


def _energy(report: Mapping[str, Any]) -> list[str]:
    """Joules for an inference, a line a target and gauge that counted."""
    found = []
    for target, gauges in report.get("energy", {}).items():
        for one in (one for one in gauges if one["joules"]):
            ends = wording.ends(one["joules"], wording.joules)
            interval = f" [{ends}]" if ends else ""
            found.append(
                f"{target}: {wording.joules(one['joules']['value'])}{interval} for an inference by {one['source']}"
            )
    return found


def _kept(accuracies: list[Mapping[str, Any]]) -> list[str]:
    """What happens to whoever keeps the original's threshold or gallery, a line a target and question."""
    found = []
    for a in accuracies:
        if a["metric"].startswith(("far_kept", "tar_kept", "tar_mixed")) and a["n"] and a["drop"]:
            value = wording.metric(a["estimate"]["value"], a["metric"])
            found.append(f"{a['target']}: {wording.metric_name(a['metric'])}: {value}, drop {wording.drop(a['drop'])}")
    return found


def _agreement(row: Mapping[str, Any]) -> str:
    """How one output agrees with the original's, in one line."""
    if row["problem"]:
        return f"{row['target']} against {row['output']}: {row['problem']}"
    cosine, ends = row["cosine"], wording.ends(row["cosine"], lambda value: f"{value:.5f}")
    interval = f" [{ends}]" if ends else ""
    return (
        f"{row['target']} agrees on {row['output']} ({row['n']} samples): cosine {cosine['value']:.5f}{interval}, "
        f"1st percentile {row['cosine_p1']['value']:.5f}, least {row['cosine_min']['value']:.5f}, "
        f"max abs {wording.number(row['max_abs']['value'])}, SQNR {wording.number(row['sqnr_db']['value'])} dB"
    )


def _reasons(rows: list[Mapping[str, Any]]) -> list[str]:
    """Why rows did not pass; targets with the same reason share a line."""
    by_reason: dict[str, list[str]] = {}
    for row in rows:
        if row["reason"]:
            by_reason.setdefault(row["reason"], []).append(row["target"])
    return [f"{', '.join(targets)}: {reason}" for reason, targets in by_reason.items()]


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    accuracy = row["accuracy"]
    score = wording.metric(accuracy["value"], accuracy["metric"]) if accuracy else "–"
    return (
        row["target"] + (" †" if row["overhead"] else ""),
        wording.STATE_WORD[row["state"]].lower(),
        row["precision"] if row["engine"] else "–",  # what was executed, not what was asked for
        score,
        wording.drop(row["drop"]) if row["drop"] else "–",
        _number(row["p50"], wording.milliseconds),
        _number(row["p99"], wording.milliseconds),
        _number(row["speedup"], wording.times),
        _number(row["speedup_float"], wording.times),
        wording.size(row["size_bytes"]),
    )


def _number(cell: Mapping[str, Any], show: Callable[[float | None], str]) -> str:
    return show(cell.get("value"))


def _pad(text: str, width: int, column: int) -> str:
    return text.ljust(width) if column < TEXT_COLUMNS else text.rjust(width)


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
