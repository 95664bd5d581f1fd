"""edgesmith search: the architecture search of a recipe alone."""

from __future__ import annotations

from pathlib import Path

import typer

from edgesmith.cli import output

EXIT = {"pass": 0, "fail": 1, "inconclusive": 5, "not_measured": 0}  # without a latency goal nothing is judged


def command(
    recipe: Path = typer.Argument(..., help="A recipe with a search section, e.g. recipes/search-digits.yaml"),
    out: Path | None = typer.Option(None, help="Folder of the run [default: runs/<recipe>]"),
    set_: list[str] = typer.Option([], "--set", help="key=value; may be repeated"),
    dry_run: bool = typer.Option(False, help="Check the recipe, list the steps and stop."),
    allow_import: bool = typer.Option(False, help="Let the recipe name code to import."),
    trust_pickle: bool = typer.Option(False, help="Load pickles, which can run code."),
    json: bool = typer.Option(False, "--json", help="One JSON object on stdout."),
) -> int:
    """Search an architecture within a latency budget; `edgesmith run` with the same --out goes on from there."""
    from edgesmith.pipeline.recipe import read_recipe
    from edgesmith.pipeline.sources import Trust
    from edgesmith.pipeline.steps import SEARCHING, plan_steps, search_recipe

    parsed = read_recipe(recipe, set_)
    folder, trust = out or output.default_out(recipe), Trust(allow_import, trust_pickle)
    if dry_run:
        rows = [row for row in plan_steps(parsed, folder, trust) if row["step"] in SEARCHING]
        if json:
            output.print_json({"recipe": parsed, "steps": rows})
        else:
            output.print_table(("step", "folder", "state"), [(r["step"], r["folder"], r["state"]) for r in rows])
        return 0
    with output.progress() as say:
        found = search_recipe(parsed, folder, trust, say)
    if found is None:  # one of several processes, and not the first
        return 0
    if json:
        output.print_json(found)
    else:
        output.print_table(("edge", "operation"), list(found["choices"].items()))
        print(found["genotype"])
    return EXIT[found["state"]]
