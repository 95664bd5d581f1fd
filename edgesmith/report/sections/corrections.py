"""What the corrections of each int8 plan are worth, as a table."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from edgesmith.report import wording
from edgesmith.report.markup import Part, cell, table

HEAD = ("Target", "Correction", "Is", "Worth, dB of SQNR", "The other way, dB", "Cosine")


def section(report: Mapping[str, Any]) -> Part | None:
    """A row a correction and target; None where none was measured."""
    rows = []
    for one in report.get("corrections", ()):
        where = f"{one['samples']} {one['judged_on']}"
        about = f'{escape(one["target"])} <span class="soft">{escape(where)}</span>'
        rows.append([about, "all as they are", "", "–", _db(one["sqnr_db"]), _cosine(one["cosine"])])
        for row in one["rows"]:
            worth = f'<span class="soft">{escape(row["note"])}</span>' if row["note"] else cell(row["gain_db"], _signed)
            start = [escape(one["target"]), escape(row["correction"]), "on" if row["on"] else "off", worth]
            rows.append([*start, _db(row["sqnr_db"]), _cosine(row["cosine"])])
    if not rows:
        return None
    body = table(HEAD, rows, "Corrections", 3)
    return Part("corrections", "Corrections of int8 plans", body, "each left out, simulated in torch", is_open=False)


def _db(value: float | None) -> str:
    return wording.number(value, 4)


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.2f}"


def _cosine(value: float | None) -> str:
    return "–" if value is None else f"{value:.5f}"
