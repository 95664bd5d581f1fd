"""Core ML (model.mlpackage, an ML program for iOS 17, or 18 where weights need it), made on any host by coremltools.

Seen with coremltools 9.0: a program must be decomposed first ("Provided Dialect: TRAINING" otherwise); a node's
"debug_handle" ends up beside the operations made from it, which is the only exact link from a layer to its tensor
(fp16 conversion renames "linear" to "linear_0_cast_fp16"); the file bears the date, and its manifest random numbers.
"""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.export import ExportedProgram

import edgesmith
from edgesmith.artifact import Exported
from edgesmith.export.coreml_names import HANDLES, coreml_places
from edgesmith.export.exporter import decomposed, failure, prepared, quiet, record
from edgesmith.graph.capture import Program
from edgesmith.quant import QuantPlan
from edgesmith.targets import Target, WeightCompression
from edgesmith.tensors import TensorSpec

LARGEST_BATCH = 1024  # Core ML wants a bound for a dynamic axis
_LOGGERS = ("coremltools", "torchao", "torch.utils._pytree")


@contextlib.contextmanager
def _hushed() -> Iterator[Any]:
    """Silence what coremltools and the packages it imports say; errors still arrive in the text that is yielded."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [(logger.level, logger.propagate) for logger in loggers]
    with quiet() as heard:
        ear = logging.StreamHandler(heard)
        for logger in loggers:
            logger.addHandler(ear)
            logger.setLevel(logging.ERROR)
            logger.propagate = False
        try:
            yield heard
        finally:
            for logger, (level, propagate) in zip(loggers, levels):
                logger.removeHandler(ear)
                logger.setLevel(level)
                logger.propagate = propagate


with _hushed():  # eleven lines about libraries that only macOS has, and untested versions of others
    import coremltools as ct

    from edgesmith.export.coreml_weights import compressed


def export(program: Program, plan: QuantPlan | None, target: Target, out: Path) -> Exported:
    """Write model.mlpackage. Raises: ExportFailed naming the operator and the module path."""
    lowered = prepared(program, plan, target)
    exported = decomposed(lowered)
    _widen_bytes(exported)
    for handle, node in enumerate(exported.graph.nodes):
        node.meta["debug_handle"] = handle
    model = _converted(lowered, exported, target)
    package = out / f"model{target.suffix}"
    with _hushed():
        model.save(str(package))
    places = coreml_places(package, model, lowered, exported)
    notes = _compress(model, package, target, target.compression) if target.compression else ()
    _make_repeatable(package)
    made = record(program, plan, target, out, places, notes)
    return replace(made, inputs=_as_stored(program.inputs), outputs=_as_stored(program.outputs))


def _widen_bytes(exported: ExportedProgram) -> None:
    """Take 8-bit inputs as int32, which Core ML has: what the program computes from them stays the same."""
    for node in exported.graph.find_nodes(op="placeholder"):
        value = node.meta["val"]
        if node.name in exported.graph_signature.user_inputs and value.dtype in (torch.uint8, torch.int8):
            node.meta["val"] = value.to(torch.int32)


def _converted(program: Program, exported: ExportedProgram, target: Target) -> Any:
    system = target.compression.system if target.compression else "iOS17"
    precision = ct.precision.FLOAT32 if target.precision == "fp32" else ct.precision.FLOAT16
    with _hushed() as heard:
        try:
            model = ct.convert(
                exported,
                inputs=[_input_type(spec) for spec in program.inputs],
                outputs=[ct.TensorType(name=spec.name, dtype=_dtype(spec)) for spec in program.outputs],
                minimum_deployment_target=ct.target[system],
                compute_precision=precision,
                convert_to="mlprogram",
                skip_model_load=True,
            )
        except Exception as error:  # coremltools raises whatever its translations raise
            raise failure(error, program, exported, target, log=heard.getvalue()) from error
    return _signed(model, target)


def _signed(model: Any, target: Target) -> Any:
    """Say in the model what made it, and not when."""
    notes = model.user_defined_metadata
    notes["edgesmith"], notes["target"] = edgesmith.__version__, target.name
    notes.pop("com.github.apple.coremltools.conversion_date", None)
    return model


def _compress(model: Any, package: Path, target: Target, how: WeightCompression) -> tuple[str, ...]:
    """Put the model with compressed weights in the package's place; the names of its tensors stay as they are."""
    with _hushed():
        smaller, note = compressed(model, how)
        shutil.rmtree(package)
        _signed(smaller, target).save(str(package))
    return (note,)


def _input_type(spec: TensorSpec) -> Any:
    sizes = [ct.RangeDim(1, LARGEST_BATCH, default=1) if isinstance(size, str) else size for size in spec.shape]
    return ct.TensorType(name=spec.name, shape=sizes, dtype=_dtype(spec))


def _dtype(spec: TensorSpec) -> type:
    return np.int32 if np.dtype(spec.dtype).kind in "iu" else np.float32


def _as_stored(specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
    """Core ML has no 64-bit tensors, and no 8-bit ones."""
    return tuple(replace(spec, dtype=np.dtype(_dtype(spec)).name) for spec in specs)


def _make_repeatable(package: Path) -> None:
    """The same bytes for the same model: leave out what coremltools keeps for another tool, number by content."""
    (package / HANDLES).unlink(missing_ok=True)
    main = package / "Data" / "com.apple.CoreML" / "model.mlmodel"
    spec = ct.proto.Model_pb2.Model.FromString(main.read_bytes())
    main.write_bytes(spec.SerializeToString(deterministic=True))  # maps are otherwise in the order of hashes
    manifest = package / "Manifest.json"
    text = manifest.read_text()
    for key, entry in json.loads(text)["itemInfoEntries"].items():
        text = text.replace(key, str(uuid.uuid5(uuid.NAMESPACE_URL, entry["path"])).lower())
    data = json.loads(text)
    data["itemInfoEntries"] = dict(sorted(data["itemInfoEntries"].items()))
    manifest.write_text(json.dumps(data, indent=4) + "\n")
