"""edgesmith train: the training stages of a recipe alone."""

from __future__ import annotations

from pathlib import Path

import typer

from edgesmith.cli import output


def command(
    recipe: Path = typer.Argument(..., help="A recipe with train stages"),
    out: Path | None = typer.Option(None, help="Folder of the run [default: runs/<recipe>]"),
    set_: list[str] = typer.Option([], "--set", help="key=value; may be repeated"),
    allow_import: bool = typer.Option(False, help="Let the recipe name code to import."),
    trust_pickle: bool = typer.Option(False, help="Load pickles, which can run code."),
    json: bool = typer.Option(False, "--json", help="One JSON object on stdout."),
) -> int:
    """Train the stages of a recipe; `edgesmith run` with the same --out goes on from there."""
    from edgesmith.pipeline.recipe import read_recipe
    from edgesmith.pipeline.sources import Trust
    from edgesmith.pipeline.steps import train_recipe

    parsed = read_recipe(recipe, set_)
    with output.progress() as say:
        rows = train_recipe(parsed, out or output.default_out(recipe), Trust(allow_import, trust_pickle), say)
    if json:
        output.print_json({"stages": rows})
    else:
        table = [(r["stage"], r["epochs"], r["loss"], r["accuracy"], r["weights"]) for r in rows]
        output.print_table(("stage", "epochs", "loss", "accuracy", "weights"), table)
    return 0
