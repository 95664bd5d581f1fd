"""edgesmith verify: does a file answer what the original answers?"""

from __future__ import annotations

from pathlib import Path

import typer

from edgesmith.cli import model_options as m
from edgesmith.cli import output


def command(
    files: list[Path] = typer.Argument(..., help="Artefact folders, bundles, or model files made by anyone"),
    against: str = typer.Option(..., help="The original: a MODEL as for export"),
    inputs: str = typer.Option(..., help="A folder of images | file.npz | random:N"),
    weights: m.Weights = None,
    input_: m.Input = None,
    preprocess: m.Preprocess = None,
    size: m.Size = None,
    mean: m.Mean = None,
    std: m.Std = None,
    color: m.Color = None,
    cosine: float = typer.Option(0.99, help="Least mean cosine to the original"),
    agreement: float | None = typer.Option(None, help="Least top-1 agreement with the original, 0..1"),
    accuracy_drop: float | None = typer.Option(None, help="With labels in the inputs: largest drop of accuracy, 0..1"),
    drift: bool = typer.Option(False, "--drift", help="Also compare layer by layer, and name the layer that is off"),
    strict: m.Strict = False,
    trust_pickle: m.TrustPickle = False,
    device: m.Device = None,
    devices: m.Devices = None,
    min_macs_on: list[str] = typer.Option([], help="TYPE=SHARE, e.g. int8=0.9: least share of the work; repeatable"),
    max_partitions: int | None = typer.Option(None, min=1, help="Most stretches of operators on one unit"),
    junit: m.Junit = None,
    summary: m.Summary = None,
    baseline: m.Baseline = None,
    write_baseline: m.WriteBaseline = None,
    json: m.Json = False,
) -> int:
    """Run files and the original on the same inputs and judge the agreement, with intervals."""
    from edgesmith.pipeline.ci import Wanted, deliver
    from edgesmith.pipeline.device_file import open_named
    from edgesmith.pipeline.drift import drift_files, drift_lines
    from edgesmith.pipeline.foreign import verify_files

    where = open_named(device, devices)
    prepared = (preprocess, size, mean, std, color)
    request = m.request(
        against,
        weights,
        input_,
        prepared,
        trust_pickle,
        calibration=inputs,
        strict=strict,
    )
    placement = m.placement_limits(min_macs_on, max_partitions)
    limits = {"cosine": cosine, "agreement": agreement, "accuracy_drop": accuracy_drop, "placement": placement}
    with output.progress() as say:
        table = verify_files(files, request, {k: v for k, v in limits.items() if v is not None}, say, where)
        layers = drift_files(files, request, say) if drift else ()
    table = deliver(table, Wanted(junit, summary, baseline, write_baseline))
    if json:
        output.print_json({**table.report, "drift": layers} if drift else table.report)
    else:
        print("\n".join([*table.lines, *drift_lines(layers)]))
    return table.exit_code
