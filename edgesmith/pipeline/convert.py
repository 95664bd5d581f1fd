"""What the verbs export, quantize and verify share: a model as typed, made ready to capture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from edgesmith.artifact import output_folder
from edgesmith.compress.quantize.corrections import USUAL, Corrections
from edgesmith.data.split import Evaluation, Split
from edgesmith.devices import DEVICES
from edgesmith.errors import UsageError
from edgesmith.graph.capture import Program
from edgesmith.pipeline.plans import plans_for
from edgesmith.pipeline.produce import Bundle, build_targets, capture_source, check_places
from edgesmith.pipeline.quantizing import Quantized, Setting, quantized, save_quantized
from edgesmith.pipeline.refining import corrected_plans, measured_anew
from edgesmith.pipeline.sources import Inputs, Source, Trust, open_model, read_inputs, with_inputs
from edgesmith.pipeline.wishes import Wishes
from edgesmith.targets import target
from edgesmith.tensors import Preprocessing

Say = Callable[[str], None]
_BATCH = 50  # calibration samples at a time


@dataclass(frozen=True)
class Request:
    """A model with its inputs, as the options of a verb give it, and what int8 plans of it are corrected by.

    on_device: engines are not built here, but by the worker on the device.
    """

    model: str
    weights: Path | None = None
    inputs: tuple[str, ...] = ()
    preprocessing: Preprocessing | None = None
    calibration: str | None = None
    samples: int = 300
    dynamic_batch: bool = False
    strict: bool = False
    trust: Trust = field(default_factory=Trust)
    corrections: Corrections = USUAL
    on_device: bool = False


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
    anew = request.corrections.reestimate_batchnorm
    if request.calibration is None and anew:
        raise UsageError("measure batch norms anew", "no calibration data", "give --calibration")
    if request.calibration is None:
        return source, None
    _need_preprocessing(request.calibration, source.preprocessing)
    inputs = read_inputs(request.calibration, source.inputs, source.preprocessing, request.strict)
    if inputs.warning:
        say(f"warning: {inputs.warning}")
    if inputs.skipped:
        say(f"warning: {len(inputs.skipped)} unreadable images skipped: {', '.join(inputs.skipped[:5])}")
    inputs = first(inputs, request.samples)
    return (measured_anew(source, inputs, _BATCH) if anew else source), inputs


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


def export_request(request: Request, names: Sequence[str], out: Path, say: Say, planned: Path | None = None) -> Bundle:
    """Capture, calibrate where an int8 target asks for it, export. planned: a folder of plans to use instead.

    Raises: UsageError for plans of another model, or of other weights of this one.
    """
    check_places(out, names)
    needs_ranges = [name for name in names if target(name).family and planned is None]
    if needs_ranges and request.calibration is None:
        todo = "give --calibration a folder of images, a file.npz or random:N"
        raise UsageError(f"export to {', '.join(needs_ranges)}", "no calibration data", todo)
    source, inputs = prepare(request, say)
    say("capture ...")
    program = capture_source(source, request.dynamic_batch)
    plans = plans_for(program, planned, names) if planned is not None else {}
    if needs_ranges and inputs is not None:
        say(f"calibrate with {inputs.count} samples ...")
        plans = corrected_plans(program, source, inputs, names, request.corrections, _BATCH)
    return build_targets(program, source, names, plans, out, say, request.on_device)


def quantize_request(
    request: Request, names: Sequence[str], out: Path, say: Say, wishes: Wishes, held_out: str | None = None
) -> tuple[Quantized, ...]:
    """Write ranges.json, a plan a family and what was measured to find it.

    held_out: samples to judge by, as typed: a folder of images (one folder a class), a file.npz or random:N.
    """
    output_folder(out)
    if not any(target(name).family for name in names):
        todo = "name one, e.g. ort-int8"
        raise UsageError(f"quantize for {', '.join(names)}", "none of these is an int8 target", todo)
    source, inputs = prepare(request, say)
    if inputs is None:
        raise UsageError("quantize", "no calibration data", "give --calibration")
    judged, question = read_held_out(held_out, source, request.strict) if held_out else (None, None)
    setting = Setting(capture_source(source), source, inputs, judged, question, DEVICES.get("local")(), say)
    ranges, found = quantized(setting, names, replace(wishes, corrections=request.corrections), _BATCH)
    save_quantized(out, ranges, found)
    return found


def read_held_out(text: str, source: Source, strict: bool) -> tuple[Inputs, Evaluation]:
    """Samples to judge by and the question they ask: top-1 or multi-label accuracy by labels, else agreement."""
    inputs = read_inputs(text, source.inputs, source.preprocessing, strict)
    split = Split(dict(inputs.arrays), inputs.labels)
    if inputs.labels is None:
        return inputs, Evaluation(split, "agreement")
    return inputs, Evaluation(split, "multilabel" if inputs.labels.ndim == 2 else "top1", {"labels": inputs.labels})


def capture_request(request: Request, say: Say) -> tuple[Source, Program, Inputs]:
    """The original of a verification: model, captured program and the inputs to judge on."""
    source, inputs = prepare(request, say)
    if inputs is None:
        raise UsageError("verify", "no inputs", "give --inputs")
    return source, capture_source(source, request.dynamic_batch), inputs
