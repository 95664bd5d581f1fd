"""From a captured program to one folder a target: calibrate once, plan by family, export each."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from edgesmith import records
from edgesmith.artifact import Exported, building, check_replaceable, load_exported, output_folder, save_exported
from edgesmith.compress.quantize.bias_pass import SAMPLES
from edgesmith.compress.quantize.corrections import USUAL, Corrections
from edgesmith.compress.quantize.observe import observe
from edgesmith.compress.quantize.plan import derive
from edgesmith.devices.facts import this_machine
from edgesmith.errors import EdgesmithError, MissingPackage, MissingResource, UsageError
from edgesmith.export import EXPORTERS
from edgesmith.export.exporter import Exporter
from edgesmith.graph.capture import Program, capture
from edgesmith.graph.repeatable import check_repeatable
from edgesmith.graph.rewrite import fold_batchnorm
from edgesmith.pipeline.sources import Inputs, Source, check_calibration
from edgesmith.quant import QuantPlan, RangeMethod, RangeRecord
from edgesmith.targets import Target, target
from edgesmith.tensors import Arrays, Preprocessing, TensorSpec, random_feed

Say = Callable[[str], None]
BUNDLE = "bundle.json"
# Families whose int8 kernels are not those of this machine.
_INSTRUCTION_SETS = {"coreml": "apple", "tensorrt": "cuda", "executorch": "xnnpack"}


@dataclass(frozen=True)
class Absent:
    """A target that did not come out: "failed" (it could have) or "not_measured" (something is not installed)."""

    target: str
    state: Literal["failed", "not_measured"]
    reason: str


@dataclass(frozen=True)
class Listing:
    """What bundle.json says: the targets that are there, and why the others are not."""

    exported: tuple[str, ...]
    absent: Mapping[str, Absent]


@dataclass(frozen=True)
class Bundle:
    """What `convert` made: a folder with one artefact a target, and why the others are not there."""

    folder: Path
    exported: Mapping[str, Exported]
    absent: Mapping[str, Absent]


def capture_source(source: Source, dynamic_batch: bool = False) -> Program:
    """Capture a model by seeded synthetic inputs of its own specs.

    Raises: ExportFailed; UsageError for one that answers differently each time.
    """
    feed = random_feed(source.inputs)
    example = {name: torch.from_numpy(array) for name, array in feed.items()}
    outputs = source.outputs or None
    if isinstance(source.module, torch.fx.GraphModule):  # a saved program takes its inputs in order only
        program = capture(source.module, tuple(example.values()), tuple(example), outputs, dynamic_batch)
    else:
        program = capture(source.module, example, None, outputs, dynamic_batch)
    check_repeatable(program)
    return program


def calibrate(
    program: Program,
    inputs: Inputs,
    preprocessing: Preprocessing | None,
    batch: int,
    before: RangeRecord | None = None,
) -> RangeRecord:
    """One pass of the calibration inputs over the original (batch-norm folded) graph; `before`: of earlier samples.

    Raises: UsageError for inputs that are none, not finite or constant.
    """
    if before is None:
        check_calibration(inputs)
    folded = fold_batchnorm(program)
    inputs, batch, left_out = whole_batches(program, inputs, batch)
    ranges = observe(folded, tensor_batches(program.inputs, inputs, preprocessing, batch), inputs.digest, before)
    return replace(ranges, warning="; ".join(filter(None, (inputs.warning, left_out))))


def whole_batches(program: Program, inputs: Inputs, batch: int) -> tuple[Inputs, int, str]:
    """Samples and a batch that a program of a fixed batch takes, and what is left out. Raises: UsageError for fewer."""
    size = 1 if program.batch_is_symbolic else len(program.example[0])
    rest = inputs.count % size
    if inputs.count < size:
        found = f"{inputs.count} samples"
        raise UsageError(f"calibrate a model that takes batches of {size}", found, f"give {size} samples or more")
    if rest:
        inputs = replace(inputs, arrays={name: array[:-rest] for name, array in inputs.arrays.items()}, labels=None)
    told = f"{rest} samples left out: the model takes batches of {size}" if rest else ""
    return inputs, max(batch // size, 1) * size, told


def tensor_batches(
    specs: Sequence[TensorSpec], inputs: Inputs, preprocessing: Preprocessing | None, batch: int
) -> Iterator[tuple[torch.Tensor, ...]]:
    """Batches in the order of the model's inputs. Raises: UsageError when names do not fit."""
    names = [spec.name for spec in specs]
    if inputs.images:
        if preprocessing is None or len(names) != 1:
            raise UsageError("feed images", f"the model has inputs {names}", "give preprocessing, or a .npz of tensors")
        images = inputs.arrays["image"]
        for start in range(0, len(images), batch):
            yield (torch.from_numpy(preprocessing.apply(images[start : start + batch])),)
        return
    if set(names) - set(inputs.arrays):
        found = f"the data has {sorted(inputs.arrays)}"
        raise UsageError(f"feed the inputs {names}", found, "name the arrays of the .npz like the model's inputs")
    for start in range(0, inputs.count, batch):
        yield tuple(torch.from_numpy(typed(spec, inputs.arrays[spec.name][start : start + batch])) for spec in specs)


def correcting(program: Program, inputs: Inputs, preprocessing: Preprocessing | None) -> tuple[torch.Tensor, ...]:
    """The first calibration samples, a tensor an input: what the bias correction of `plan_targets` runs on."""
    return next(tensor_batches(program.inputs, inputs, preprocessing, SAMPLES))


def typed(spec: TensorSpec, array: np.ndarray) -> np.ndarray:
    """An array in the type of an input. Raises: UsageError for one of another kind of number."""
    if array.dtype.kind == "f" == spec.numpy_type.kind:
        return array.astype(spec.numpy_type)
    if array.dtype != spec.numpy_type:
        raise UsageError(f"feed input {spec.name!r} of type {spec.dtype}", f"{array.dtype}", "convert the data")
    return array


def instruction_set_of(family: str) -> str:
    """The instruction set that plans of a family are made for here: a processor's own is that of this machine."""
    return _INSTRUCTION_SETS.get(family, this_machine().instruction_set)


def plan_targets(
    program: Program,
    ranges: RangeRecord,
    names: Sequence[str],
    keep_float: Collection[str] = (),
    ranges_by: RangeMethod = "mse",
    samples: tuple[torch.Tensor, ...] = (),
    corrections: Corrections = USUAL,
) -> dict[str, QuantPlan]:
    """One plan for each family that the int8 targets need, all from the same ranges.

    keep_float: paths of layers and modules that no plan quantizes. ranges_by: how the ends of the grids are chosen.
    samples: what biases are corrected on (`correcting`); without, they are corrected in closed form. corrections: which
    of those that `derive` applies are on; the others of them are for refining.py.
    """
    folded = fold_batchnorm(program)
    families = dict.fromkeys(row.family for row in map(target, names) if row.family)
    on = corrections.of_plan
    return {
        f: derive(folded, ranges, f, instruction_set_of(f), keep_float, on, ranges_by, samples) for f in families if f
    }


def build_targets(
    program: Program,
    source: Source,
    names: Sequence[str],
    plans: Mapping[str, QuantPlan],
    out: Path,
    say: Say,
    on_device: bool = False,
) -> Bundle:
    """Export every target; one that cannot be built is a row with its reason and stops no other.

    on_device: engines are not built here, what the worker builds them from is written instead.
    """
    check_places(out, names)
    reference = golden_of(program, source.preprocessing)
    exported: dict[str, Exported] = {}
    absent: dict[str, Absent] = {}
    for name in names:
        made = _build_one(program, source, name, plans, out / name, reference, on_device)
        if isinstance(made, Absent):
            absent[name] = made
            say(f"{name}: {made.reason}")
        else:
            exported[name] = made
            say(f"{name}: {made.size_bytes / 1e6:.2f} MB")
    records.save(out / BUNDLE, Listing(tuple(exported), absent))
    return Bundle(out, exported, absent)


def check_places(out: Path, names: Sequence[str]) -> None:
    """Make the folder of a bundle, and refuse to write over what is not ours. Raises: UsageError, MissingResource."""
    output_folder(out)
    for name in names:
        check_replaceable(out / name)


def _build_one(
    program: Program,
    source: Source,
    name: str,
    plans: Mapping[str, QuantPlan],
    folder: Path,
    golden: tuple[Arrays, Arrays],
    on_device: bool,
) -> Exported | Absent:
    row = target(name)
    plan = plans.get(row.family) if row.family else None
    if row.family and plan is None:
        return Absent(name, "not_measured", "no calibration data was given, and int8 needs it")
    try:
        with building(folder) as temporary:
            if (timings := folder / "timing.cache").is_file():  # the same layers need not be timed again
                shutil.copy2(timings, temporary)
            made = _exporter(row, on_device)(program, plan, row, temporary)
            notes = (*source.notes, *made.notes, *(plan.notes if plan else ()))
            full = replace(made, preprocessing=source.preprocessing, labels=source.labels, notes=notes)
            if plan:
                full = replace(full, instruction_set=plan.instruction_set)
            save_exported(temporary, full, golden)
    except MissingPackage as error:
        return Absent(name, "not_measured", str(error))
    except MissingResource:
        raise  # a full disk concerns the whole run
    except EdgesmithError as error:
        return Absent(name, "failed", str(error))
    return load_exported(folder, check=False)


def _exporter(row: Target, on_device: bool) -> Exporter:
    if not (on_device and row.exporter.startswith("tensorrt")):
        return EXPORTERS.get(row.exporter)  # type: ignore[no-any-return]
    from edgesmith.export.tensorrt import export_source

    return export_source


def golden_of(program: Program, preprocessing: Preprocessing | None = None, seed: int = 0) -> tuple[Arrays, Arrays]:
    """Seeded synthetic inputs and what the original answers to them; never real samples."""
    feed = _synthetic(program.inputs, preprocessing, seed)
    tensors = [torch.from_numpy(feed[spec.name]) for spec in program.inputs]
    with torch.inference_mode():
        answer = program.module(*tensors)
    values = answer if isinstance(answer, (tuple, list)) else (answer,)
    return feed, {spec.name: value.numpy() for spec, value in zip(program.outputs, values)}


def _synthetic(specs: Sequence[TensorSpec], preprocessing: Preprocessing | None, seed: int) -> Arrays:
    """A picture of coloured squares where the model takes pictures, else noise.

    Noise leaves the grids that int8 was calibrated to for pictures, and a self-test by it would have to let all pass.
    """
    feed = random_feed(specs, seed)
    if preprocessing is None or len(specs) != 1:
        return feed
    squares = np.random.default_rng(seed).integers(0, 256, (len(feed[specs[0].name]), 8, 8, 3), dtype=np.uint8)
    height, width = preprocessing.size
    rows, columns = np.arange(height) * 8 // height, np.arange(width) * 8 // width
    picture = preprocessing.apply(squares[:, rows][:, :, columns]).astype(specs[0].numpy_type)
    return {specs[0].name: picture} if picture.shape == feed[specs[0].name].shape else feed


def load_bundle(folder: Path) -> Bundle:
    """Read a folder that build_targets wrote, checking every artefact."""
    listing = records.load(Listing, folder / BUNDLE)
    return Bundle(folder, {name: load_exported(folder / name) for name in listing.exported}, listing.absent)
