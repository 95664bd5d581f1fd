"""edgesmith inspect: what an artefact is, after checking every checksum."""

from __future__ import annotations

from pathlib import Path

import typer

from edgesmith.cli import output


def command(
    artifact: Path = typer.Argument(..., help="An artefact folder, a bundle, a step's folder, or a model file"),
    json: bool = typer.Option(False, "--json", help="One JSON object on stdout."),
) -> int:
    """Show an artefact's record; a file that does not match its checksum is refused by name."""
    from edgesmith.pipeline.doctor import describe

    facts = describe(artifact)
    if json:
        output.print_json(facts)
    else:
        output.print_table(("field", "value"), [(key, str(value)) for key, value in facts.items()])
    return 0
