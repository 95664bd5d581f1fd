"""edgesmith export: any model to any target."""

from __future__ import annotations

from pathlib import Path

import typer

from edgesmith.cli import model_options as m
from edgesmith.cli import output


def command(
    model: m.Model,
    targets: m.Targets = "ort-fp32",
    calibration: m.Calibration = None,
    out: Path = typer.Option(Path("build"), help="Folder; one sub-folder a target"),
    weights: m.Weights = None,
    input_: m.Input = None,
    preprocess: m.Preprocess = None,
    size: m.Size = None,
    mean: m.Mean = None,
    std: m.Std = None,
    color: m.Color = None,
    samples: int = typer.Option(300, min=1, help="Calibration samples at most"),
    plans: Path | None = typer.Option(None, help="Folder of `edgesmith quantize`: its plans, and no calibration"),
    on: m.On = None,
    off: m.Off = None,
    dynamic_batch: bool = typer.Option(False, help="Keep the batch size open in the artefacts."),
    on_device: bool = typer.Option(False, "--on-device", help="Engines (TensorRT) are built by the worker there"),
    strict: m.Strict = False,
    trust_pickle: m.TrustPickle = False,
    json: m.Json = False,
) -> int:
    """Export a model; a target that cannot be built is a row with its reason and stops no other."""
    from edgesmith.compress.quantize.corrections import switched
    from edgesmith.errors import worst
    from edgesmith.pipeline.convert import export_request, target_names

    prepared = (preprocess, size, mean, std, color)
    request = m.request(
        model,
        weights,
        input_,
        prepared,
        trust_pickle,
        calibration=calibration,
        samples=samples,
        dynamic_batch=dynamic_batch,
        strict=strict,
        on_device=on_device,
        corrections=switched(on or (), off or ()),
    )
    names = target_names(targets)
    with output.progress() as say:
        bundle = export_request(request, names, out, say, plans)
    rows = [(n, "built", f"{e.size_bytes / 1e6:.2f} MB", str(e.file)) for n, e in bundle.exported.items()]
    rows += [(name, absent.state, "", absent.reason) for name, absent in bundle.absent.items()]
    if json:
        output.print_json({"folder": bundle.folder, "exported": bundle.exported, "absent": bundle.absent})
    else:
        output.print_table(("target", "state", "size", "file or reason"), rows)
    return worst(1 if row.state == "failed" else 3 for row in bundle.absent.values())
