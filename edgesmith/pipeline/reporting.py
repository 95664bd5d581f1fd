"""The report of a run on disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgesmith import records


def save_report(out: Path, report: Mapping[str, Any]) -> Path:
    """Write report.json and report.html in the folder of a run; returns the page."""
    from edgesmith.report.html import write

    records.save(out / "report.json", report)
    write(out / "report.html", report)
    return out / "report.html"
