"""What the verbs export, quantize and verify share: a model as typed, made ready to capture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgesmith import records
from edgesmith.artifact import output_folder
from edgesmith.errors import UsageError
from edgesmith.graph.capture import Program
from edgesmith.pipeline.produce import Bundle, build_targets, calibrate, capture_source, plan_targets
from edgesmith.pipeline.sources import Inputs, Source, Trust, open_model, read_inputs, with_inputs
from edgesmith.quant import EdgeQuant, QuantPlan, RangeRecord
from edgesmith.targets import target
from edgesmith.tensors import Preprocessing

Say = Callable[[str], None]


@dataclass(frozen=True)
class Request:
    """A model with its inputs, as the options of a verb give it."""

    model: str
    weights: Path | None = None
    inputs: tuple[str, ...] = ()
    preprocessing: Preprocessing | None = None
    calibration: str | None = None
    samples: int = 300
    dynamic_batch: bool = False
    strict: bool = False
    trust: Trust = field(default_factory=Trust)


def target_names(text: str) -> tuple[str, ...]:
    """Targets as typed, "ort-int8,openvino-fp32", each once. Raises: UsageError for an unknown one, or none."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names:
        raise UsageError(f"--targets {text!r}", "no target in it", "`edgesmith doctor` lists them")
    return tuple(target(name).name for name in names)


def prepare(request: Request, say: Say) -> tuple[Source, Inputs | None]:
    """Open the model and read its inputs; warnings are said. Raises: UsageError, MissingResource."""
    source = open_model(request.model, request.weights, request.trust)
    for note in source.notes:
        say(f"warning: {note}")
    source = with_inputs(source, request.inputs, request.preprocessing)
    if request.calibration is None:
        return source, None
    _need_preprocessing(request.calibration, source.preprocessing)
    inputs = read_inputs(request.calibration, source.inputs, source.preprocessing, request.strict)
    if inputs.warning:
        say(f"warning: {inputs.warning}")
    if inputs.skipped:
        say(f"warning: {len(inputs.skipped)} unreadable images skipped: {', '.join(inputs.skipped[:5])}")
    return source, first(inputs, request.samples)


def _need_preprocessing(calibration: str, preprocessing: Preprocessing | None) -> None:
    if Path(calibration).is_dir() and preprocessing is None:
        raise UsageError(
            f"read the images of {calibration}",
            "the model's preprocessing is not known",
            "give --preprocess FILE, or --size --mean --std [--color]",
        )


def first(inputs: Inputs, count: int) -> Inputs:
    """At most `count` samples."""
    labels = inputs.labels[:count] if inputs.labels is not None else None
    return replace(inputs, arrays={name: array[:count] for name, array in inputs.arrays.items()}, labels=labels)


def export_request(request: Request, names: Sequence[str], out: Path, say: Say) -> Bundle:
    """Capture, calibrate where an int8 target asks for it, export."""
    output_folder(out)
    needs_ranges = [name for name in names if target(name).family]
    if needs_ranges and request.calibration is None:
        todo = "give --calibration a folder of images, a file.npz or random:N"
        raise UsageError(f"export to {', '.join(needs_ranges)}", "no calibration data", todo)
    source, inputs = prepare(request, say)
    say("capture ...")
    program = capture_source(source, request.dynamic_batch)
    plans: dict[str, QuantPlan] = {}
    if needs_ranges and inputs is not None:
        say(f"calibrate with {inputs.count} samples ...")
        ranges = calibrate(program, inputs, source.preprocessing, batch=50)
        plans = plan_targets(program, ranges, names)
    return build_targets(program, source, names, plans, out, say)


def quantize_request(request: Request, names: Sequence[str], out: Path, say: Say) -> list[dict[str, Any]]:
    """Write ranges.json and a plan a family; answer one summary row a plan."""
    output_folder(out)
    source, inputs = prepare(request, say)
    if inputs is None:
        raise UsageError("quantize", "no calibration data", "give --calibration")
    program = capture_source(source)
    ranges = calibrate(program, inputs, source.preprocessing, batch=50)
    plans = plan_targets(program, ranges, names)
    if not plans:
        raise UsageError(
            f"quantize for {', '.join(names)}", "none of these is an int8 target", "name one, e.g. ort-int8"
        )
    save_plans(out, ranges, plans)
    return [plan_row(plan, out) for plan in plans.values()]


def save_plans(out: Path, ranges: RangeRecord, plans: dict[str, QuantPlan]) -> None:
    """ranges.json and plan-<family>.json in a folder."""
    records.save(out / "ranges.json", ranges)
    for family, plan in plans.items():
        records.save(out / f"plan-{family}.json", plan)


def load_plans(folder: Path) -> dict[str, QuantPlan]:
    """The plans save_plans wrote."""
    found = [records.load(QuantPlan, path) for path in sorted(folder.glob("plan-*.json"))]
    return {plan.family: plan for plan in found}


def plan_row(plan: QuantPlan, out: Path) -> dict[str, Any]:
    """What a plan amounts to, for a table."""
    floats = [path for path, precision in plan.precision.items() if precision != "int8"]
    return {
        "family": plan.family,
        "edges": sum(isinstance(edge, EdgeQuant) for edge in plan.edges.values()),
        "float_layers": ", ".join(floats) or "none",
        "rewrites": ", ".join(
            f"{form} x{list(plan.rewrites.values()).count(form)}" for form in sorted(set(plan.rewrites.values()))
        ),
        "isa": plan.instruction_set,
        "notes": plan.notes,
        "digest": plan.digest(),
        "file": out / f"plan-{plan.family}.json",
    }


def capture_request(request: Request, say: Say) -> tuple[Source, Program, Inputs]:
    """The original of a verification: model, captured program and the inputs to judge on."""
    source, inputs = prepare(request, say)
    if inputs is None:
        raise UsageError("verify", "no inputs", "give --inputs")
    return source, capture_source(source, request.dynamic_batch), inputs
