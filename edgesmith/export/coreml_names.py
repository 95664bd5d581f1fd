"""Where the layers of the original stand in a Core ML package, and which of its tensors hold a multiple of them.

Seen with coremltools 9.0: where two dequantized values are added and quantized again, a pass of the converter divides
all scales by one of them, so that the sum in the file is a multiple of the sum in the model, and a value that has other
readers is dequantized twice; a value whose zero point is at the end of its type is dequantized under a new name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch.export import ExportedProgram

from edgesmith.export.exporter import Places, layer_places, user_outputs
from edgesmith.graph.capture import Program, named_values

HANDLES = "executorch_debug_handle_mapping.json"
_DEQUANTIZE = "dequantize"
_KEEPS_FACTOR = ("add", "sub", "relu")
_SAME = 0.01  # scales are float16 in the file


def coreml_places(package: Path, model: Any, program: Program, exported: ExportedProgram) -> Places:
    """Path of each layer -> its tensors in the package. model: what coremltools converted, before it is compressed."""
    written = _written(package, [node.name for node in exported.graph.nodes])
    first = {node: tensors[0] for node, tensors in written.items()}
    outputs = user_outputs(exported, program)
    places = layer_places(program, exported, first | outputs)
    factors = _factors(model, exported, written)
    for path, value in named_values(program, exported).items():
        every = {tensor: None for node in value.nodes if node not in outputs for tensor in written.get(node, ())}
        if path in places.names and len(every) > 1:
            others = [tensor for tensor in every if tensor != places.names[path]]
            places.copies[path] = tuple(others)
    return replace(places, multiples=factors)


def _written(package: Path, nodes: list[str]) -> dict[str, tuple[str, ...]]:
    """Node of the exported program -> the tensors that hold its value: the last one, or all that are dequantized."""
    table = json.loads((package / HANDLES).read_text())["mapping"]
    found: dict[str, tuple[str, ...]] = {}
    for handle, operations in table.items():
        node = nodes[int(handle)] if handle.isdigit() else ""
        made = [(path[-1].get("Operator"), path[-1]["Output"]) for path in operations]
        written = [tensor for operator, tensor in made if operator not in ("const", "cast")]
        # An operation fused with its neighbour bears the neighbour's name, and its value is another one.
        own = [tensor for tensor in written if tensor == node or tensor.startswith(f"{node}_")][-1:]
        read = [tensor for operator, tensor in made if operator == _DEQUANTIZE]
        if node and (read or own):
            found[node] = tuple(read or own)
    return found


def _factors(model: Any, exported: ExportedProgram, written: Mapping[str, tuple[str, ...]]) -> dict[str, float]:
    """Tensor -> by what the file multiplies the value, for those where that is not 1."""
    scales = {
        tensor: float(node.args[1])  # type: ignore[arg-type]
        for node in exported.graph.nodes
        if "dequantize_per_tensor" in str(node.target)
        for tensor in written.get(node.name, ())
    }
    found: dict[str, float] = {}
    for operation in model._mil_program.functions["main"].operations:
        name = operation.outputs[0].name if operation.outputs else ""
        if operation.op_type == _DEQUANTIZE and name in scales:
            found[name] = float(operation.scale.val) / scales[name]
        elif operation.op_type in _KEEPS_FACTOR:
            operands = [operation.x, getattr(operation, "y", None)]
            given = [found[one.name] for one in operands if one is not None and one.name in found]
            found |= {name: given[0]} if given else {}
    return {tensor: factor for tensor, factor in found.items() if abs(factor - 1) > _SAME}
