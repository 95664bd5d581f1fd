"""TensorRT and TensorRT-RTX engines, built by the vendor's own ONNX parser from the model of a prepared program.

TensorRT-RTX builds ahead of time without a GPU; TensorRT needs the GPU it builds for. RTX networks are strongly typed:
the ONNX file alone says what is fp16, and no builder flag changes it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import torch
from torch.export import ExportedProgram

from edgesmith import records
from edgesmith.artifact import Engine, Exported
from edgesmith.errors import ExportFailed
from edgesmith.export import engine
from edgesmith.export.exporter import (
    decomposed,
    half,
    layer_names,
    layer_places,
    prepared,
    record,
    tensors_present,
    unsupported,
)
from edgesmith.export.onnx import module_scope, operator_layers, operator_names, to_bytes, to_onnx
from edgesmith.graph.capture import Program
from edgesmith.quant import QuantPlan
from edgesmith.targets import Target

SOURCE = "model.onnx"  # beside the engine, so that another one can be built from it
CACHE = "timing.cache"


def export(program: Program, plan: QuantPlan | None, target: Target, out: Path) -> Exported:
    """Write model.engine by TensorRT; without a GPU here, what it takes to build it on the device.

    Raises: MissingPackage, ExportFailed naming the node.
    """
    return _export("tensorrt", program, plan, target, out)


def export_rtx(program: Program, plan: QuantPlan | None, target: Target, out: Path) -> Exported:
    """Write model.engine by TensorRT-RTX. Raises: MissingPackage, ExportFailed naming the node."""
    return _export("tensorrt_rtx", program, plan, target, out)


def export_source(program: Program, plan: QuantPlan | None, target: Target, out: Path) -> Exported:
    """Write model.onnx, from which the worker builds the engine on the device. Raises: ExportFailed."""
    lowered, exported, model = _converted(program, plan, target)
    records.write_bytes(out / SOURCE, to_bytes(model))
    made = _record(program, plan, target, out, lowered, exported, model, ("the engine is built on the device",))
    return replace(made, main=SOURCE, source=SOURCE)


def _export(vendor: str, program: Program, plan: QuantPlan | None, target: Target, out: Path) -> Exported:
    trt = engine.library(vendor, f"export to {target.name}")
    capability = _capability() if vendor == "tensorrt" else ""
    if vendor == "tensorrt" and not capability:
        return export_source(program, plan, target, out)  # it builds on the GPU that it builds for
    lowered, exported, model = _converted(program, plan, target)
    made, built = _built(trt, model, lowered, target, capability, out)
    file = f"model{target.suffix}"
    records.write_bytes(out / file, made)
    records.write_bytes(out / SOURCE, to_bytes(model))
    note = f"built by {vendor} {trt.__version__}"
    found = _record(program, plan, target, out, lowered, exported, model, (note,))
    return replace(found, engines=(replace(built, file=file),), source=SOURCE)


def _converted(
    program: Program, plan: QuantPlan | None, target: Target
) -> tuple[Program, ExportedProgram, onnx.ModelProto]:
    lowered = prepared(program, plan, target)
    if target.precision == "fp16":
        lowered = half(lowered)
    exported = decomposed(lowered)
    return lowered, exported, to_onnx(lowered, exported, target)


def _record(
    program: Program,
    plan: QuantPlan | None,
    target: Target,
    out: Path,
    lowered: Program,
    exported: ExportedProgram,
    model: onnx.ModelProto,
    notes: tuple[str, ...],
) -> Exported:
    # An engine shows its inputs and outputs only, so no other layer can be read from it; its inspector and its profiler
    # call layers by the nodes of the ONNX file.
    names = layer_names(lowered, exported, {spec.name for spec in lowered.outputs})
    operators = operator_names(model, lowered, exported)
    present = {name for node in model.graph.node for name in node.output}
    places = layer_places(lowered, exported, tensors_present(lowered, exported, present))
    layers = operator_layers(model, program, lowered, exported, places)
    return record(program, plan, target, out, names, notes, operators, layers)


def _built(
    trt: Any, model: onnx.ModelProto, program: Program, target: Target, capability: str, out: Path
) -> tuple[bytes, Engine]:
    try:
        return engine.build(trt, to_bytes(model), program.inputs, capability, out / CACHE)
    except engine.NotParsed as error:
        raise _refused(error, model, target) from error


def _refused(error: engine.NotParsed, model: onnx.ModelProto, target: Target) -> ExportFailed:
    """The parser's first error that names a node, in the user's module path."""
    asked = f"export to {target.name}"
    nodes = {node.name: node for node in model.graph.node}
    for one in error.refusals:
        node = nodes.get(one.node)
        if node is not None:
            return unsupported(asked, f"ONNX {node.op_type}", module_scope(node), one.reason)
    return ExportFailed(asked, f"the ONNX parser refused the model ({error})", "drop this target")


def _capability() -> str:
    """The compute capability of this machine's first GPU, "" without one."""
    if not torch.cuda.is_available():
        return ""
    return ".".join(map(str, torch.cuda.get_device_capability(0)))
