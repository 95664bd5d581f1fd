"""ONNX, by torch.onnx's dynamo exporter: one file, names of the program's inputs and outputs, the plan's integers."""

from __future__ import annotations

from pathlib import Path

import onnx
import torch
from torch.export import ExportedProgram

import edgesmith
from edgesmith import records
from edgesmith.artifact import Exported
from edgesmith.export.exporter import (
    Places,
    decomposed,
    failure,
    half,
    layer_places,
    prepared,
    quiet,
    record,
    tensors_present,
    user_outputs,
)
from edgesmith.export.integer_bias import integer_biases
from edgesmith.graph.capture import Program, operator_nodes
from edgesmith.quant import QuantPlan
from edgesmith.targets import Target

OPSET = 20
_PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
# What torch writes about each node; the rest holds file names of the machine that exported.
_KEPT_METADATA = {"pkg.torch.onnx.name_scopes"}


def export(program: Program, plan: QuantPlan | None, target: Target, out: Path) -> Exported:
    """Write model.onnx. Raises: ExportFailed naming the operator and the module path."""
    lowered = prepared(program, plan, target)
    lowered = half(lowered) if target.precision == "fp16" else lowered
    exported = decomposed(lowered)
    model = to_onnx(lowered, exported, target)
    if plan is not None:
        integer_biases(model)
    records.write_bytes(out / f"model{target.suffix}", to_bytes(model))
    present = {name for node in model.graph.node for name in node.output}
    places = layer_places(lowered, exported, tensors_present(lowered, exported, present))
    names, layers = operator_names(model, lowered, exported), operator_layers(model, program, lowered, exported, places)
    return record(program, plan, target, out, places, operators=names, operator_layers=layers)


def to_onnx(program: Program, exported: ExportedProgram, target: Target) -> onnx.ModelProto:
    """Convert a prepared program. Raises: ExportFailed."""
    try:
        with quiet():
            converted = torch.onnx.export(
                exported,
                (),
                input_names=[spec.name for spec in program.inputs],
                output_names=[spec.name for spec in program.outputs],
                opset_version=OPSET,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    except Exception as error:  # torch.onnx raises errors of its own, and whatever its translations raise
        raise failure(error, program, exported, target) from error
    model = converted.model_proto  # type: ignore[union-attr]
    _tidy(model, program)
    onnx.helper.set_model_props(model, {"edgesmith": edgesmith.__version__, "target": target.name})
    return model


def to_bytes(model: onnx.ModelProto) -> bytes:
    """The same bytes for the same model."""
    return model.SerializeToString(deterministic=True)


def operator_names(model: onnx.ModelProto, program: Program, exported: ExportedProgram) -> dict[str, tuple[str, ...]]:
    """Module path -> names of the ONNX node that does a layer's products, and of what is computed from it alone."""
    outputs = user_outputs(exported, program)
    path_of = {outputs.get(node, node): path for path, node in operator_nodes(program, exported).items()}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    found = {}
    for node in (node for node in model.graph.node if node.op_type in _PRODUCTS):
        chain = [node]
        while len(after := readers.get(chain[-1].output[0], [])) == 1 and after[0].op_type not in _PRODUCTS:
            chain.append(after[0])
        path = next((path_of[one.output[0]] for one in chain if one.output[0] in path_of), None)
        if path is not None and path not in found:
            found[path] = tuple(name for one in chain for name in (one.name, one.output[0]))
    return found


def operator_layers(
    model: onnx.ModelProto, program: Program, lowered: Program, exported: ExportedProgram, places: Places
) -> dict[str, str]:
    """Node and tensor names of the file -> the layer of `program` they were made from.

    What a rewrite or the quantization put between two layers belongs to the one that reads it first.
    """
    outputs = user_outputs(exported, lowered)
    path_of = {name: path for path, name in places.names.items()}
    path_of |= {outputs.get(node, node): path for path, node in operator_nodes(lowered, exported).items()}
    found: dict[str, str] = {}
    read_by: dict[str, str] = {}
    for node in reversed(model.graph.node):
        path = next((known[name] for known in (path_of, read_by) for name in node.output if name in known), "")
        layer = _original(path, program)
        found.update(dict.fromkeys((node.name, *node.output), layer))
        read_by.update(dict.fromkeys(node.input, layer))
    return {name: layer for name, layer in found.items() if name and layer}


def _original(path: str, program: Program) -> str:
    """The layer of the user's model that a rewritten one stands for: prelu for prelu.scaled."""
    shorter = path
    while shorter and shorter not in program.nodes:
        shorter = shorter.rpartition(".")[0]
    return shorter or path


def module_scope(node: onnx.NodeProto) -> str:
    """The user's module path that torch wrote on a node, "" for the model itself."""
    for entry in node.metadata_props:
        if entry.key == "pkg.torch.onnx.name_scopes":
            scopes = [part.strip(" '\"") for part in entry.value.strip("[]").split(",")]
            return scopes[-2] if len(scopes) > 1 else ""
    return ""


def _tidy(model: onnx.ModelProto, program: Program) -> None:
    graph = model.graph
    del model.metadata_props[:]
    del graph.metadata_props[:]
    for item in (*graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        item.doc_string = ""
        kept = [entry for entry in item.metadata_props if entry.key in _KEPT_METADATA]
        del item.metadata_props[:]
        item.metadata_props.extend(kept)
    _name_axes(graph, program)


def _name_axes(graph: onnx.GraphProto, program: Program) -> None:
    """Call dynamic axes by the names in the program's specs instead of torch's symbols ("s40")."""
    names: dict[str, str] = {}
    for value, spec in zip(graph.input, program.inputs):
        for axis, size in zip(value.type.tensor_type.shape.dim, spec.shape):
            if isinstance(size, str) and axis.dim_param:
                names[axis.dim_param] = size
    for value in (*graph.input, *graph.output, *graph.value_info):
        for axis in value.type.tensor_type.shape.dim:
            if axis.dim_param in names:
                axis.dim_param = names[axis.dim_param]
