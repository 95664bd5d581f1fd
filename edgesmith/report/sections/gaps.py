"""What was not measured, and why; inputs that were skipped."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from edgesmith.report.markup import Part, table


def section(report: Mapping[str, Any]) -> Part | None:
    """A row a gap, a row a skipped input."""
    gaps = [[escape(g["target"]), escape(g["what"]), escape(g["reason"])] for g in report["not_measured"]]
    skipped = [[escape(name)] for name in report["skipped"]]
    body = table(("Target", "What", "Why"), gaps, "Not measured", 9) if gaps else ""
    if skipped:
        body += f"<h3>Skipped inputs</h3>{table(('Input',), skipped, 'Skipped inputs')}"
    if not body:
        return None
    counted = [f"{len(gaps)} gaps and why"] if gaps else []
    counted += [f"{len(skipped)} inputs skipped"] if skipped else []
    return Part("not-measured", "Not measured", body, ", ".join(counted), is_open=False)
