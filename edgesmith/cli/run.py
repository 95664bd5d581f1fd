"""edgesmith run: a whole recipe."""

from __future__ import annotations

import shlex
from pathlib import Path

import typer

from edgesmith.cli import model_options as m
from edgesmith.cli import output


def command(
    recipe: Path = typer.Argument(..., help="A recipe, e.g. recipes/quickstart.yaml"),
    out: Path | None = typer.Option(None, help="Folder of the run [default: runs/<recipe>]"),
    set_: list[str] = typer.Option([], "--set", help="key=value, e.g. --set data.root=DIR; may be repeated"),
    dry_run: bool = typer.Option(False, help="Check the recipe, list the steps and stop."),
    allow_import: bool = typer.Option(False, help="Let the recipe name code to import."),
    trust_pickle: bool = typer.Option(False, help="Load pickles, which can run code."),
    device: m.Device = None,
    devices: m.Devices = None,
    junit: m.Junit = None,
    summary: m.Summary = None,
    baseline: m.Baseline = None,
    write_baseline: m.WriteBaseline = None,
    json: bool = typer.Option(False, "--json", help="One JSON object on stdout."),
) -> int:
    """Run a recipe: train, quantize, export, bench, verify, report; what is already there is skipped."""
    from edgesmith.pipeline.ci import Wanted, deliver
    from edgesmith.pipeline.device_file import device_spec, find_device
    from edgesmith.pipeline.recipe import on_device, read_recipe
    from edgesmith.pipeline.reporting import save_report
    from edgesmith.pipeline.sources import Trust
    from edgesmith.pipeline.steps import plan_steps, run_recipe

    parsed = read_recipe(recipe, set_)
    folder = out or output.default_out(recipe)
    if device is not None:
        parsed = on_device(parsed, device_spec(find_device(device, devices)))
    trust = Trust(allow_import, trust_pickle, device is not None)
    if dry_run:
        rows = plan_steps(parsed, folder, trust)
        if json:
            output.print_json({"recipe": parsed, "steps": rows})
        else:
            output.print_table(("step", "folder", "state"), [(r["step"], r["folder"], r["state"]) for r in rows])
        return 0
    words = ["edgesmith", "run", str(recipe), *(word for pair in set_ for word in ("--set", pair))]
    words += [word for pair in (("--device", device), ("--devices", devices)) if pair[1] for word in map(str, pair)]
    with output.progress() as say:
        result = run_recipe(parsed, folder, trust, say, command=shlex.join(words))
    if result is None:  # another process goes on alone
        return 0
    result = deliver(result, Wanted(junit, summary, baseline, write_baseline))
    if baseline is not None:  # the page shows what the comparison found
        save_report(folder, result.report)
    if json:
        output.print_json(result.report)
    else:
        print("\n".join(result.lines))
    return result.exit_code
