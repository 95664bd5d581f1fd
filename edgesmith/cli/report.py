"""edgesmith report: the page of a run, again, from its JSON alone; or two runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from edgesmith.cli import output


def command(
    run: Path = typer.Argument(..., help="Folder of a run, or a report.json"),
    later: Path | None = typer.Argument(None, help="Another run: show what changed, and whether it is noise"),
    out: Path | None = typer.Option(
        None, help="Where to write [default: report.html beside the JSON; of two runs: no page]"
    ),
    json: bool = typer.Option(False, "--json", help="One JSON object on stdout."),
) -> int:
    """Rebuild report.html from report.json, or compare two runs; needs no runtime and no torch."""
    from edgesmith import records
    from edgesmith.report.html import render
    from edgesmith.report.saved import report_file
    from edgesmith.report.table import lines

    if later is not None:
        return _compared(run, later, out, json)
    source = report_file(run)
    report, (text, shown) = _read(source, lambda report: (render(report), lines(report)))
    page = out or source.with_suffix(".html")
    records.write_bytes(page, text.encode())
    if json:
        output.print_json(report)
    else:
        print("\n".join(shown))
        print(f"\n{page}")
    return 0


def _compared(run: Path, later: Path, out: Path | None, json: bool) -> int:
    from edgesmith import records
    from edgesmith.report import compare, compare_page
    from edgesmith.report.saved import report_file

    before, _ = _read(report_file(run), lambda report: compare.compare(report, report))
    after, changes = _read(report_file(later), lambda report: compare.compare(before, report))
    if out is not None:
        records.write_bytes(out, compare_page.render(before, after).encode())
    if json:
        output.print_json({"before": run, "after": later, "changes": changes})
    else:
        print("\n".join([*compare.lines(changes), *(["", str(out)] if out else [])]))
    return 0


def _read(source: Path, use: Any) -> tuple[Any, Any]:
    """A report and what `use` makes of it. Raises: DamagedArtifact for what is no report."""
    from edgesmith import records
    from edgesmith.errors import DamagedArtifact

    report = records.read(source)
    try:
        return report, use(report)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        found = f"it is no report ({type(error).__name__}: {error})"
        raise DamagedArtifact(f"read report {source}", found, "name the folder of a run") from error
