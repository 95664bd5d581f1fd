"""What an inference costs in joules, by each gauge of the device, as a table."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from edgesmith.report import wording
from edgesmith.report.markup import Part, cell, table

HEAD = ("Target", "Gauge", "For an inference", "Idle power subtracted", "Idle")
ABOUT = "of everything that the gauge feeds; 95 % intervals over blocks"


def section(report: Mapping[str, Any]) -> Part | None:
    """A row a target and gauge; None where nothing was counted (the reasons stand among what was not measured)."""
    rows = []
    for target, gauges in report.get("energy", {}).items():
        for one in gauges:
            if one["joules"]:
                net = cell(one["net_joules"], wording.joules)
                idle = f"{wording.number(one['idle_w'])} W" if one["idle_w"] is not None else "–"
                rows.append([escape(target), escape(one["source"]), cell(one["joules"], wording.joules), net, idle])
    return Part("energy", "Energy", table(HEAD, rows, "Energy", 2), ABOUT, is_open=False) if rows else None
