"""The two functions most users need: convert a module, check what came out."""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from edgesmith.artifact import Exported, load_exported
from edgesmith.bench.feeds import as_taken
from edgesmith.compress.quantize.corrections import checked
from edgesmith.data.split import digest
from edgesmith.errors import UsageError
from edgesmith.pipeline.judge import Table, judge_bundle
from edgesmith.pipeline.options import option_problems
from edgesmith.pipeline.produce import BUNDLE, Bundle, build_targets, capture_source, load_bundle
from edgesmith.pipeline.refining import corrected_plans, measured_anew
from edgesmith.pipeline.sources import Inputs, Source
from edgesmith.quant import QuantPlan
from edgesmith.targets import target
from edgesmith.tensors import Arrays, Preprocessing, TensorSpec

_BATCH = 50  # calibration samples at a time
Batch = Any  # a tensor, a tuple (inputs..., [label]), or a mapping by input name


def convert(
    module: nn.Module,
    inputs: Mapping[str, torch.Tensor] | Sequence[torch.Tensor] | torch.Tensor,
    targets: Sequence[str],
    calibration: Iterable[Batch] | None = None,
    out: str | Path = "build",
    dynamic_batch: bool = False,
    preprocessing: Preprocessing | None = None,
    labels: Sequence[str] = (),
    say: Callable[[str], None] = lambda text: None,
    corrections: Mapping[str, bool] | None = None,
) -> Bundle:
    """Take a PyTorch module to every target, one folder each; torch-fp32, the original, is always among them.

    inputs: example tensors, batch axis first. calibration: batches of real inputs (a label behind them is ignored);
    int8 targets need it. corrections: switches by name, {"equalise": False, "adaround": True} (Corrections in
    compress/quantize/corrections.py). A target that cannot be built is a row in `absent` and stops no other.
    Raises: UsageError for an unknown target or inputs that do not fit.
    """
    names = tuple(dict.fromkeys(("torch-fp32", *targets)))
    for name in names:
        target(name)
    specs = _specs(module, inputs)
    source = Source(type(module).__name__, module.eval(), specs, preprocessing, tuple(labels))
    switches, plans = checked(corrections or {}), dict[str, QuantPlan]()
    seen = None
    if calibration is not None and any(target(name).family for name in names):
        seen = gather(calibration, specs)
        source = measured_anew(source, seen, _BATCH) if switches.reestimate_batchnorm else source
    program = capture_source(source, dynamic_batch)
    if seen is not None:
        plans = corrected_plans(program, source, seen, names, switches, _BATCH)
    return build_targets(program, source, names, plans, Path(out), say)


def check(
    bundle: Bundle | str | Path,
    against: nn.Module | None = None,
    data: Iterable[Batch] | None = None,
    limits: Mapping[str, float] | None = None,
    required: Sequence[str] | None = None,
    bench: bool = True,
    threads: int = 1,
    say: Callable[[str], None] = lambda text: None,
) -> Table:
    """Run every artefact on the same inputs and judge it against the original; a verdict a target.

    against: the original module; by default the bundle's own torch-fp32. data: batches of inputs; a label behind
    them makes it top-1 accuracy, else agreement with the original is judged. required: every target of the bundle,
    also one that did not come out, unless you name some.
    Raises: UsageError for an unknown limit, or when there is no data at all: no evidence is never a pass.
    """
    found = bundle if isinstance(bundle, Bundle) else load_bundle(Path(bundle))
    specs = next(iter(found.exported.values())).inputs
    if data is None:
        raise UsageError("check a bundle", "no data given", "give a loader of inputs, with labels if there are any")
    if problems := option_problems("limits", dict(limits or {}), "edgesmith.verify.gate:Limits"):
        raise UsageError("check a bundle", "; ".join(problems), "correct the limits")
    inputs = gather(data, specs)
    with tempfile.TemporaryDirectory() as work:
        if against is not None:
            found = _with_reference(found, against, Path(work))
        return judge_bundle(
            found,
            inputs,
            limits=dict(limits or {}),
            required=tuple(required if required is not None else (*found.exported, *found.absent)),
            folder=Path(work) / "jobs",
            bench=bench,
            threads=threads,
            say=say,
        )


def load(folder: str | Path) -> Exported | Bundle:
    """Open an artefact of one target, or a whole bundle, after checking every checksum."""
    path = Path(folder)
    return load_bundle(path) if (path / BUNDLE).exists() else load_exported(path)


def _with_reference(bundle: Bundle, module: nn.Module, work: Path) -> Bundle:
    """Put `module` itself in the place of torch-fp32, so that the judge is who the caller says."""
    specs = next(iter(bundle.exported.values())).inputs
    source = Source(type(module).__name__, module.eval(), specs)
    dynamic = any(spec.dynamic for spec in specs)
    program = capture_source(source, dynamic)
    made = build_targets(program, source, ("torch-fp32",), {}, work / "reference", lambda text: None)
    return replace(bundle, exported={**bundle.exported, **made.exported})


def _specs(module: nn.Module, inputs: Any) -> tuple[TensorSpec, ...]:
    """Specs of the example inputs; without names of their own they get those of forward's arguments."""
    named = inputs if isinstance(inputs, Mapping) else None
    if named is None:
        values = (inputs,) if isinstance(inputs, torch.Tensor) else tuple(inputs)
        arguments = list(inspect.signature(module.forward).parameters)
        known = arguments if len(arguments) >= len(values) else [f"input_{i}" for i in range(len(values))]
        named = dict(zip(known, values))
    for name, value in named.items():
        if not isinstance(value, torch.Tensor):
            raise UsageError(f"input {name!r}", f"it is a {type(value).__name__}", "give example tensors")
    return tuple(TensorSpec(n, tuple(v.shape), str(v.dtype).removeprefix("torch.")) for n, v in named.items())


def gather(batches: Iterable[Batch], specs: Sequence[TensorSpec]) -> Inputs:
    """Put a loader's batches together, by the model's input names; a value behind the inputs is the label."""
    columns: dict[str, list[np.ndarray]] = {spec.name: [] for spec in specs}
    labels: list[np.ndarray] = []
    for batch in batches:
        feed, label = _split(batch, specs)
        for name, array in feed.items():
            columns[name].append(array)
        if label is not None:
            labels.append(label)
    if not columns[specs[0].name]:
        raise UsageError("read the data", "it has no batch", "give at least one")
    arrays = {name: np.concatenate(parts) for name, parts in columns.items()}
    return Inputs(arrays, False, digest(arrays), np.concatenate(labels) if labels else None)


def _split(batch: Batch, specs: Sequence[TensorSpec]) -> tuple[Arrays, np.ndarray | None]:
    if isinstance(batch, Mapping):
        missing = [spec.name for spec in specs if spec.name not in batch]
        if missing:
            raise UsageError(f"a batch with {[s.name for s in specs]}", f"it has {list(batch)}", "name the inputs")
        return {s.name: _array(batch[s.name], s) for s in specs}, None
    values = list(batch) if isinstance(batch, (tuple, list)) else [batch]
    if len(values) not in (len(specs), len(specs) + 1):
        found = f"a batch has {len(values)} values"
        raise UsageError(f"{len(specs)} inputs, perhaps a label", found, "yield (inputs..., label) or a mapping")
    label = np.asarray(values[-1]) if len(values) > len(specs) else None
    return {s.name: _array(v, s) for s, v in zip(specs, values)}, label


def _array(value: Any, spec: TensorSpec) -> np.ndarray:
    array = value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
    taken = as_taken(spec, array)
    if taken.dtype != spec.numpy_type:  # 0..255 are not 0..1, and a cast would hide that they were given
        found = f"the data has {array.dtype} {array.shape}"
        raise UsageError(f"input {spec.name!r} of type {spec.dtype}", found, "give the data the model's own type")
    return taken
