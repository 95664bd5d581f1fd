"""edgesmith app: a project for one platform with the model in it."""

from __future__ import annotations

from pathlib import Path

import typer

from edgesmith.cli import output


def command(
    kit: str = typer.Argument(..., help="web, cpp or android"),
    artifact: Path = typer.Argument(..., help="An artefact folder, e.g. build/ort-fp32"),
    out: Path = typer.Option(..., "--out", help="The folder to write; it must not exist"),
    name: str = typer.Option("", "--name", help="Name of the package: a-z, 0-9 and dashes. Default: from --out"),
    json: bool = typer.Option(False, "--json", help="One JSON object on stdout."),
) -> int:
    """Write an app kit: the model, its preprocessing, a self-test against PyTorch's answers, a benchmark."""
    from edgesmith.plugins import missing_package

    try:
        from edgesmith.kits.app import make_app
    except ModuleNotFoundError as error:
        raise missing_package(error, f"write a {kit} kit") from error
    facts = make_app(kit, artifact, out, name)
    if json:
        output.print_json({"out": str(out), "kit": kit, "facts": facts})
    else:
        seen = ", ".join(f"{name} {value:.2g}" for name, value in facts.seen_here.items()) or "not run here"
        print(f"{out}: {kit} kit of {facts.target}; largest difference to PyTorch here: {seen}")
        print(f"next: see {out / 'README.md'}")
    return 0
