"""Times by layer as data and as a table."""

from __future__ import annotations

from typing import Any

from edgesmith.records import to_json
from edgesmith.results import Interval, LayerTime, Measurement

NO_LAYER = "(no layer)"


def rows(measured: Measurement) -> dict[str, Any]:
    """Source, runs, the whole and the rows of one target; {} where nothing was profiled."""
    return to_json(measured.layers) if measured.layers else {}  # type: ignore[no-any-return]


def layer_table(measured: Measurement) -> tuple[tuple[str, ...], list[tuple[str, ...]], str]:
    """Header, rows in the order of execution, and title."""
    header, title = ("layer", "operators", "ms a run", "share", "with it"), f"{measured.target}: times by layer"
    if measured.layers is None:
        notes = [note for note in measured.notes if "by layer" in note]
        return header, [], f"{title}: not measured: {measured.reason or '; '.join(notes)}"
    found = measured.layers
    about = f"{found.source}, {found.runs} runs, {found.mapped:.0%} of it in named layers"
    whole = f"a run under the profiler takes {_interval(found.whole_ms)} ms"
    return header, [_line(row) for row in found.rows], f"{title}: {about}; {whole}"


def _line(row: LayerTime) -> tuple[str, ...]:
    return row.layer or NO_LAYER, row.op, _interval(row.ms), f"{row.share:.1%}", ", ".join(row.members)


def _interval(interval: Interval) -> str:
    ends = "" if interval.low is None or interval.high is None else f" [{interval.low:.4f}, {interval.high:.4f}]"
    return f"{interval.value:.4f}{ends}"
