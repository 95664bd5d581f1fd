"""What CI gets of a run: the comparison with a committed baseline, JUnit XML and a summary in Markdown."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgesmith import records
from edgesmith.errors import MissingResource, worst
from edgesmith.pipeline.judge import Table
from edgesmith.report import table
from edgesmith.report.junit import junit
from edgesmith.report.wording import STATE_WORD
from edgesmith.verify.baseline import Baseline, baseline_of, compare, new_targets
from edgesmith.verify.gate import overall

GITHUB = "GITHUB_STEP_SUMMARY"


@dataclass(frozen=True)
class Wanted:
    """Files to write, and the baseline to compare with; None: not asked for."""

    junit: Path | None = None
    summary: Path | None = None
    baseline: Path | None = None
    write_baseline: Path | None = None


def deliver(found: Table, wanted: Wanted) -> Table:
    """Compare with the baseline, write what was asked for. Returns the table with the verdicts of the comparison.

    Without --summary the Markdown is appended to the file that GitHub Actions names. Raises: DamagedArtifact,
    MissingResource.
    """
    if wanted.baseline is not None:
        found = compared(found, records.load(Baseline, wanted.baseline), wanted.baseline.name)
    if wanted.write_baseline is not None:
        records.save(wanted.write_baseline, baseline_of(found.report))
    if wanted.junit is not None:
        records.write_bytes(wanted.junit, junit(found.report))
    if wanted.summary is not None:
        records.write_bytes(wanted.summary, summary(found.report).encode())
    elif os.environ.get(GITHUB):
        _append(Path(os.environ[GITHUB]), summary(found.report))
    return found


def compared(found: Table, before: Baseline, name: str) -> Table:
    """The table with a verdict for each number of the baseline, and the state and exit code that follow."""
    now = baseline_of(found.report)
    verdicts = tuple(compare(before, now))
    fresh = new_targets(before, now)
    state, code = overall(verdicts, tuple(dict.fromkeys(v.target for v in verdicts)))
    judgement = replace(
        found.judgement,
        verdicts=(*found.judgement.verdicts, *verdicts),
        exit_code=worst([found.exit_code, code]),
    )
    report = {**found.report, "verdicts": [*found.report["verdicts"], *records.to_json(verdicts)]}
    worse = [v for v in verdicts if v.state != "pass"]
    lines = [f"Baseline {name}: {len(verdicts) - len(worse)} of {len(verdicts)} numbers are no worse."]
    lines += [f"{v.state.replace('_', ' ')}: {v.target}: {v.asked}; found {v.found}" for v in worse]
    lines += [f"not in the baseline: {', '.join(fresh)}"] if fresh else []
    if code and not found.exit_code:
        report["verdict"] = {**report["verdict"], "state": state, "word": STATE_WORD[state], "line": lines[0]}
    return Table({**report, "baseline": lines}, (*found.lines, "", *lines), judgement)


def summary(report: Mapping[str, Any]) -> str:
    """GitHub-flavoured Markdown: the table, the comparison with the baseline, and every verdict behind a fold."""
    parts = [f"## {_cell(report['title'])}", table.markdown(report)]
    parts += ["\n".join(f"- {_cell(line)}" for line in report.get("baseline", ()))] if report.get("baseline") else []
    rows = [("target", "check", "verdict", "asked", "found"), ("---",) * 5]
    rows += [
        (v["target"], v["check"], v["state"].replace("_", " "), v["asked"], v["found"]) for v in report["verdicts"]
    ]
    lines = "\n".join(f"| {' | '.join(map(_cell, row))} |" for row in rows)
    parts.append(f"<details><summary>{len(report['verdicts'])} verdicts</summary>\n\n{lines}\n\n</details>")
    return "\n\n".join(parts) + "\n"


def _cell(text: str) -> str:
    return str(text).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def _append(path: Path, text: str) -> None:
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise MissingResource(
            f"write {GITHUB}={path}", f"{error.strerror}", "name a file that can be written"
        ) from error
