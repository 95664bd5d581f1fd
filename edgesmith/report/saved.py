"""The report that a run left on disk."""

from __future__ import annotations

from pathlib import Path

from edgesmith.errors import MissingResource

REPORT = "report.json"


def report_file(run: Path) -> Path:
    """The JSON of a run, given its folder or the file. Raises: MissingResource for a run that has none yet."""
    source = run / REPORT if run.is_dir() else run
    if run.is_dir() and not source.exists():
        found = f"no {REPORT}: it was interrupted, or it is no run" if any(run.iterdir()) else "an empty folder"
        raise MissingResource(f"read the report of {run}", found, "run the same `edgesmith run` again, and it goes on")
    return source
