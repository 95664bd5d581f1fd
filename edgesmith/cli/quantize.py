"""edgesmith quantize: calibrate once, and a plan a family that keeps what it is asked to keep."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from edgesmith.cli import model_options as m
from edgesmith.cli import output

if TYPE_CHECKING:
    from edgesmith.pipeline.effects import Effects
    from edgesmith.pipeline.quantizing import Quantized

_LISTED = 20  # layers with work of their own in a table, a family


def command(
    model: m.Model,
    calibration: m.Calibration = None,
    targets: m.Targets = "ort-int8,openvino-int8,coreml-int8",
    out: Path = typer.Option(Path("build"), help="Folder for ranges.json, plan-<family>.json and what was measured"),
    max_drop: float | None = typer.Option(
        None, help="Drop on --eval to keep, as a share (0.01 is one point); layers go to float until it holds."
    ),
    max_ms: float | None = typer.Option(None, help="Instead: the most accurate plan within so many ms here"),
    eval_: str | None = typer.Option(None, "--eval", help="Held-out samples: folder of images | file.npz (x, labels)"),
    keep_float: list[str] | None = typer.Option(None, help="A layer or module that stays in float, once each"),
    bisect: bool = typer.Option(False, help="Find those layers by rebuilding with halves of them, not by their noise."),
    measure_latency: bool = typer.Option(False, help="Choose layers by measured time, not by multiply-accumulates."),
    ranges: str = typer.Option("mse", help="How grids end: minmax, percentile, mse, entropy; auto keeps the best"),
    on: m.On = None,
    off: m.Off = None,
    effects: bool = typer.Option(True, help="Measure what each correction is worth, in torch"),
    weights: m.Weights = None,
    input_: m.Input = None,
    preprocess: m.Preprocess = None,
    size: m.Size = None,
    mean: m.Mean = None,
    std: m.Std = None,
    color: m.Color = None,
    samples: int = typer.Option(300, min=1, help="Calibration samples at most"),
    threads: m.Threads = 1,
    strict: m.Strict = False,
    trust_pickle: m.TrustPickle = False,
    json: m.Json = False,
) -> int:
    """Write the ranges one calibration pass saw, and the quantization plan each family derives from them.

    With --max-drop the drop is measured on the runtime, by labels or as agreement with the original, and the command
    fails (1) or says that the samples do not suffice (5) where no plan holds it. `edgesmith export --plans` takes OUT.
    --bisect finds the layers that are to blame, or says that not quantization is.
    """
    from edgesmith.compress.quantize.corrections import switched
    from edgesmith.errors import UsageError
    from edgesmith.pipeline.choose_ranges import check_ranges
    from edgesmith.pipeline.convert import quantize_request, target_names
    from edgesmith.pipeline.plans import plan_row
    from edgesmith.pipeline.wishes import Wishes
    from edgesmith.verify.gate import overall

    if calibration is None:
        raise UsageError("quantize", "no --calibration", "give a folder of images, a file.npz or random:N")
    prepared = (preprocess, size, mean, std, color)
    switches = switched(on or (), off or ())
    about = {"calibration": calibration, "samples": samples, "strict": strict, "corrections": switches}
    request = m.request(model, weights, input_, prepared, trust_pickle, **about)
    kept = tuple(keep_float or ())
    wishes = Wishes(kept, max_drop, max_ms, measure_latency, threads, check_ranges(ranges), switches, effects, bisect)
    with output.progress() as say:
        found = quantize_request(request, target_names(targets), out, say, wishes, eval_)
    if json:
        controls = [made.control for made in found if made.control is not None]
        verdicts = [verdict for made in found for verdict in made.verdicts]
        rows = [{"target": made.target, **plan_row(made.plan, out, made.floats)} for made in found]
        measured = {made.plan.family: made.measured for made in found}
        evidence = {"measured": measured, "controls": controls, "verdicts": verdicts}
        output.print_json({"folder": out, "plans": rows, **evidence})
    else:
        _print(found, out)
    verdicts = [verdict for made in found for verdict in made.verdicts]
    return overall(verdicts, [verdict.target for verdict in verdicts])[1]


def _print(found: tuple[Quantized, ...], out: Path) -> None:
    from edgesmith.pipeline.plans import plan_row

    rows = [plan_row(made.plan, out, made.floats) for made in found]
    header = ("family", "int8 edges", "float layers", "MACs in float", "rewrites", "instruction set", "file")
    cells = [
        (r["family"], r["edges"], r["float_layers"], f"{r['macs_in_float']:.1%}", r["rewrites"], r["isa"], r["file"])
        for r in rows
    ]
    output.print_table(header, [tuple(str(cell) for cell in row) for row in cells])
    floats = [line for made in found for line in _float_lines(made)]
    if floats:
        output.print_table(("family", "layer", "operator", "MACs", "why"), floats, "left in float (--json lists all)")
    for made in found:
        if made.effects is not None:
            output.print_table(*_effects_table(made.effects))
    verdicts = [verdict for made in found for verdict in made.verdicts]
    if verdicts:
        lines = [(v.target, v.state, v.asked, v.found, str(v.more or "")) for v in verdicts]
        output.print_table(("target", "verdict", "asked", "found", "samples more"), lines, "what was asked")


def _effects_table(effects: Effects) -> tuple[tuple[str, ...], list[tuple[str, ...]], str]:
    """What each correction is worth: header, rows and title."""
    rows = list[tuple[str, ...]]()
    for row in effects.rows:
        low, high = row.gain_db.low, row.gain_db.high
        ends = f" ({low:+.2f} to {high:+.2f})" if low is not None and high is not None else ""
        gain = row.note or f"{row.gain_db.value:+.2f} dB{ends}"
        cosine = "" if row.cosine is None else f"{row.cosine:.5f}"
        rows.append((row.correction, "on" if row.on else "off", gain, f"{row.sqnr_db:.2f} dB", cosine))
    own = f"{effects.sqnr_db:.2f} dB" + ("" if effects.cosine is None else f", cosine {effects.cosine:.5f}")
    title = f"{effects.target}: corrections; the plan has {own} to float on {effects.samples} {effects.judged_on}"
    header = ("correction", "is", "what it is worth", "the other way", "cosine")
    return header, rows, title


def _float_lines(made: Quantized) -> list[tuple[str, ...]]:
    """A line a layer that multiplies, and one for all others of the same operator and reason."""
    family, lines = made.plan.family, list[tuple[str, ...]]()
    working = [row for row in made.floats if row.macs_share > 0]
    for row in working[:_LISTED]:
        lines.append((family, row.layer, row.operator, f"{row.macs_share:.1%}", row.reason))
    if len(working) > _LISTED:
        rest = sum(row.macs_share for row in working[_LISTED:])
        lines.append((family, f"{len(working) - _LISTED} more", "", f"{rest:.1%}", ""))
    others: dict[tuple[str, str], list[str]] = {}
    for row in made.floats:
        if row.macs_share == 0:
            others.setdefault((row.operator, row.reason), []).append(row.layer)
    for (operator, reason), layers in others.items():
        more = f" and {len(layers) - 1} more" if len(layers) > 1 else ""
        lines.append((family, layers[0] + more, operator, "none", reason))
    return lines
