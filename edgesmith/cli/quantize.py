"""edgesmith quantize: calibrate once and show every family's plan."""

from __future__ import annotations

from pathlib import Path

import typer

from edgesmith.cli import model_options as m
from edgesmith.cli import output


def command(
    model: m.Model,
    calibration: m.Calibration = None,
    targets: m.Targets = "ort-int8,openvino-int8,coreml-int8",
    out: Path = typer.Option(Path("build"), help="Folder for ranges.json and plan-<family>.json"),
    weights: m.Weights = None,
    input_: m.Input = None,
    preprocess: m.Preprocess = None,
    size: m.Size = None,
    mean: m.Mean = None,
    std: m.Std = None,
    color: m.Color = None,
    samples: int = typer.Option(300, min=1, help="Calibration samples at most"),
    strict: m.Strict = False,
    trust_pickle: m.TrustPickle = False,
    json: m.Json = False,
) -> int:
    """Write the ranges one calibration pass saw, and the quantization plan each family derives from them."""
    from edgesmith.errors import UsageError
    from edgesmith.pipeline.convert import quantize_request, target_names

    if calibration is None:
        raise UsageError("quantize", "no --calibration", "give a folder of images, a file.npz or random:N")
    prepared = (preprocess, size, mean, std, color)
    request = m.request(
        model,
        weights,
        input_,
        prepared,
        trust_pickle,
        calibration=calibration,
        samples=samples,
        strict=strict,
    )
    names = target_names(targets)
    with output.progress() as say:
        rows = quantize_request(request, names, out, say)
    if json:
        output.print_json({"folder": out, "plans": rows})
    else:
        header = ("family", "int8 edges", "float layers", "rewrites", "instruction set", "file")
        cells = [(r["family"], r["edges"], r["float_layers"], r["rewrites"], r["isa"], r["file"]) for r in rows]
        output.print_table(header, [tuple(str(c) for c in row) for row in cells])
    return 0
