"""edgesmith report: the page of a run, again, from its JSON alone."""

from __future__ import annotations

from pathlib import Path

import typer

from edgesmith.cli import output


def command(
    run: Path = typer.Argument(..., help="Folder of a run, or a report.json"),
    out: Path | None = typer.Option(None, help="Where to write [default: report.html beside the JSON]"),
    json: bool = typer.Option(False, "--json", help="One JSON object on stdout."),
) -> int:
    """Rebuild report.html from report.json; needs no runtime and no torch."""
    from edgesmith import records
    from edgesmith.errors import DamagedArtifact
    from edgesmith.report.html import render
    from edgesmith.report.table import lines

    source = run / "report.json" if run.is_dir() else run
    report = records.read(source)
    page = out or source.with_suffix(".html")
    try:
        text, shown = render(report), lines(report)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        found = f"it is no report ({type(error).__name__}: {error})"
        raise DamagedArtifact(f"read report {source}", found, "name the folder of a run") from error
    records.write_bytes(page, text.encode())
    if json:
        output.print_json(report)
    else:
        print("\n".join(shown))
        print(f"\n{page}")
    return 0
