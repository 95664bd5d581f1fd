"""Every question that was asked of the run, and its answer."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from edgesmith.report import wording
from edgesmith.report.markup import Part, chip, table
from edgesmith.report.table import comparisons

HEAD = ("Target", "Verdict", "Asked", "Found", "Samples more to decide")


def section(report: Mapping[str, Any]) -> Part | None:
    """A row a question."""
    rows = [
        [
            escape(v["target"]),
            chip(v["state"]),
            f'<div class="wrap">{escape(wording.question(v["asked"]))}</div>',
            f'<div class="wrap">{escape(v["found"])}</div>',
            f"{v['more']:,}" if v["more"] else "–",
        ]
        for v in report["verdicts"]
    ]
    if not rows:
        return None
    said = [comparisons(report), *report.get("baseline", ())]
    notes = "".join(f'<p class="soft">{escape(text)}</p>' for text in said if text)
    body = notes + table(HEAD, rows, "Verdicts", 4)
    return Part("verdicts", "Verdicts", body, f"{len(rows)} questions", is_open=len(rows) <= 8)
