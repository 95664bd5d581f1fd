"""A model card in the format of the Hugging Face Hub: YAML facts on top, then Markdown for people.

Source: huggingface.co/docs/hub/model-cards
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from edgesmith.report.wording import number

TEMPLATE = Path(__file__).parent / "templates" / "pack" / "model_card.md.j2"


def model_card(report: Mapping[str, Any], targets: tuple[str, ...], licence: str = "") -> str:
    """The card of a run, from its report alone. targets: those whose files are in the bundle."""
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True, trim_blocks=True, autoescape=False)
    environment.filters.update(cell=cell, yaml=json.dumps, measured=measured, megabytes=megabytes)
    facts = {"report": report, "targets": targets, "licence": licence, "provenance": report["provenance"]}
    return environment.from_string(TEMPLATE.read_text()).render(facts, gaps=_gaps(report["not_measured"]))


def _gaps(rows: Sequence[Mapping[str, str]]) -> dict[tuple[str, str], list[str]]:
    """What was not measured of a target for the same reason, together."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        found.setdefault((row["target"], row["reason"]), []).append(row["what"])
    return found


def cell(text: Any) -> str:
    """Any text as one cell of a Markdown table, without markup of its own."""
    plain = html.escape(" ".join(str(text).split()), quote=False)
    for character in "\\`*_[]|":
        plain = plain.replace(character, f"\\{character}")
    return plain


def measured(found: Mapping[str, Any] | None) -> str:
    """A number with its interval, or that there is none."""
    if not found or found.get("value") is None:
        return "not measured"
    return f"{number(found['value'])} ({number(found['low'])} to {number(found['high'])})"


def megabytes(size: int | None) -> str:
    """Bytes as MB; "not measured" for nothing."""
    return f"{size / 1e6:.2f}" if size else "not measured"
