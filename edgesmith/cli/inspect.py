"""edgesmith inspect: what an artefact is, after checking every checksum."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from edgesmith.cli import output


def command(
    artifact: Path = typer.Argument(
        ..., help="An artefact folder, a bundle, a step's folder, a model file, or an evidence bundle (.zip)"
    ),
    key: Path | None = typer.Option(None, help="Public key (PEM): an evidence bundle must be signed by it"),
    json: bool = typer.Option(False, "--json", help="One JSON object on stdout."),
) -> int:
    """Show what something is, after every checksum held; what was altered is refused by name."""
    from edgesmith.pipeline.doctor import describe

    facts = describe(artifact, key)
    if json:
        output.print_json(facts)
    else:
        output.print_table(("field", "value"), [(key, _short(value)) for key, value in facts.items()])
    return 0


def _short(value: Any) -> str:
    """One cell: long collections are counted, --json has them whole."""
    if isinstance(value, (dict, list, tuple)) and len(str(value)) > 300:
        return f"{len(value)} entries (--json shows them)"
    return str(value)
