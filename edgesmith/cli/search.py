"""edgesmith search: the architecture search of a recipe alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from edgesmith.cli import output

EXIT = {"pass": 0, "fail": 1, "inconclusive": 5, "not_measured": 0}  # without a latency goal nothing is judged


def command(
    recipe: Path = typer.Argument(..., help="A recipe with a search section, e.g. recipes/search-digits.yaml"),
    out: Path | None = typer.Option(None, help="Folder of the run [default: runs/<recipe>]"),
    set_: list[str] = typer.Option([], "--set", help="key=value; may be repeated"),
    dry_run: bool = typer.Option(False, help="Check the recipe, list the steps and stop."),
    seeds: str = typer.Option("", help="Search once for each of these seeds: 0,1,2"),
    budgets: str = typer.Option("", help="Search once for each of these budgets in ms: 0.1,0.15"),
    engine: str = typer.Option("local", help="Where many searches run: local | ray"),
    workers: int = typer.Option(1, min=1, help="Searches at a time"),
    address: str | None = typer.Option(None, help="Of a running Ray cluster; all its nodes see the folder of the run"),
    allow_import: bool = typer.Option(False, help="Let the recipe name code to import."),
    trust_pickle: bool = typer.Option(False, help="Load pickles, which can run code."),
    json: bool = typer.Option(False, "--json", help="One JSON object on stdout."),
) -> int:
    """Search an architecture within a latency budget; `edgesmith run` with the same --out goes on from there.

    With --seeds or --budgets each search has a folder of its own in --out, and all share one latency table.
    """
    from edgesmith.pipeline.many_searches import many_searches
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
    if seeds or budgets:
        wanted = (numbers("--seeds", seeds, int), numbers("--budgets", budgets, float))
        with output.progress() as say:
            rows = many_searches(parsed, *wanted, folder, trust, say, engine, workers, address)  # type: ignore[arg-type]
        return show_many(rows, json)
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


def numbers(option: str, text: str, kind: type[int] | type[float]) -> list[Any]:
    """The numbers of "0,1,2", each once and above or equal 0. Raises: UsageError."""
    from edgesmith.errors import UsageError

    words = [word for word in text.split(",") if word.strip()]
    try:
        found = list(dict.fromkeys(kind(word) for word in words))
    except ValueError as error:
        raise UsageError(f"{option} {text}", str(error), "give numbers with commas between them") from error
    if not all(0 <= number < float("inf") for number in found):
        raise UsageError(f"{option} {text}", "a number that is negative or not finite", "give 0 or more")
    return found


def show_many(rows: list[dict[str, Any]], json: bool) -> int:
    """Print a row a search; the exit code is that of the worst."""
    from edgesmith.errors import worst

    if json:
        output.print_json({"searches": rows})
    else:
        header = ("seed", "budget", "p50 in ms", "state", "genotype")
        output.print_table(header, [_cells(row) for row in rows])
    return worst(EXIT.get(row["state"], 1) for row in rows)


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    p50 = f"{row['latency']['measured_ms'].value:.4g}" if row["latency"] else "-"
    numbers = ("-" if row[key] is None else f"{row[key]:g}" for key in ("seed", "budget_ms"))
    return (*numbers, p50, row["state"], row["genotype"] or row["error"])
