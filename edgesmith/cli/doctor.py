"""edgesmith doctor: what can be built, run and verified here, and what is missing for the rest."""

from __future__ import annotations

import typer

from edgesmith.cli import output


def command(json: bool = typer.Option(False, "--json", help="One JSON object on stdout.")) -> int:
    """List every target: can it be built here, can it be run here; for each "no" the reason and the install line."""
    from edgesmith.pipeline.doctor import examine

    with output.progress() as say:
        report = examine(say)
    if json:
        output.print_json(report)
        return 0
    rows = [(r["target"], r["build"], r["run"], r["reason"]) for r in report["targets"]]
    output.print_table(("target", "build", "run", "why not, and what to do"), rows)
    device = report["device"]
    print(f"\n{device.cpu}, {device.cores} cores, {device.memory_bytes / 2**30:.0f} GiB, {device.instruction_set}")
    for warning in report["warnings"]:
        print(f"warning: {warning}")
    return 0
