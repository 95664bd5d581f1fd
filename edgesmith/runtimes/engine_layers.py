"""What TensorRT's engine inspector says of the layers of an engine: by which names, in which type, how much work.

Source: TensorRT documentation, "Engine Inspector" (JSON of an engine built with detailed profiling verbosity) and
"Migrating IEngineInspector usage from TensorRT 10.x to 11.x" (Format/Datatype became two fields).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from edgesmith.errors import EngineFailed
from edgesmith.runtimes.executed import UNKNOWN, Executed

_MOVES = re.compile(r"(Reformat|NoOp|Shuffle|Cast|Copy|Reshape|Transpose)", re.I)
_PRODUCTS = re.compile(r"(conv|gemm|matrix|matmul|fullyconnected|attention|mha)", re.I)
_TYPES = (
    *(("int8", "int8"), ("bf16", "bf16"), ("bfloat16", "bf16"), ("fp16", "fp16"), ("half", "fp16"), ("fp8", "fp8")),
    *(("int32", "int32"), ("int64", "int64"), ("fp32", "fp32"), ("float", "fp32")),
)
_BYTES = {"int8": 1, "fp8": 1, "fp16": 2, "bf16": 2, "fp32": 4, "int32": 4, "int64": 8}
_ONNX_LAYER = re.compile(r"\[ONNX Layer: ([^\]]*)\]")


def read_layers(text: str) -> tuple[Executed, ...]:
    """The layers in the order of execution. Raises: EngineFailed for what is no such JSON, or holds names alone."""
    asked = "read what the engine inspector says"
    try:
        layers = json.loads(text)["Layers"]
    except (ValueError, KeyError, TypeError) as error:
        raise EngineFailed(asked, f"{error!r}", "inspect the engine again") from error
    if any(isinstance(layer, str) for layer in layers):
        found = "names alone: the engine was built without detailed profiling verbosity"
        raise EngineFailed(asked, found, "build it with edgesmith")
    try:
        return tuple(_layer(layer) for layer in layers if layer.get("LayerType") != "Constant")
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise EngineFailed(asked, f"a layer that cannot be read ({error!r})", "report it with the JSON") from error


def names_of(name: str, metadata: str = "") -> tuple[str, ...]:
    """The layer's whole name first, then the ONNX nodes that were fused into it.

    TensorRT joins names by " + ", layers that run side by side by " || ", and wraps element-wise ones in PWN( ).
    """
    parts = re.split(r" \+ | \|\| |, ", name)
    plain = []
    for part in parts:
        while (shorter := re.sub(r"^PWN\((.*)\)$", r"\1", part)) != part:
            part = shorter
        plain.append(part.strip("() "))
    return tuple(dict.fromkeys([name, *_ONNX_LAYER.findall(metadata), *plain]))


def _layer(layer: Mapping[str, Any]) -> Executed:
    kind, name = str(layer.get("LayerType", "")), str(layer["Name"])
    inputs, outputs = layer.get("Inputs", []), layer.get("Outputs", [])
    names = names_of(name, str(layer.get("Metadata", "")))
    moves = _MOVES.search(kind) is not None or name.startswith("Reformatting CopyNode")
    outs = [str(one["Name"]) for one in outputs]
    unit = "DLA" if kind.startswith("DLA") else "GPU"
    moved = sum(_size(one) for one in outputs) if moves else None
    return Executed(
        tuple(dict.fromkeys([*names, *outs])),
        kind,
        _precision(layer, inputs, outputs),
        unit,
        0 if moves else _macs(layer, kind, inputs, outputs),
        moves,
        moved,
    )


def _precision(layer: Mapping[str, Any], inputs: Sequence[Mapping[str, Any]], outputs: Sequence[Any]) -> str:
    """The type of the weights, since that is what is multiplied; else that of the first input."""
    weights = layer.get("Weights")
    if isinstance(weights, Mapping) and weights.get("Count") and "Type" in weights:
        return _type(str(weights["Type"]))
    return next((found for one in (*inputs, *outputs) if (found := _type(_said(one))) != UNKNOWN), UNKNOWN)


def _said(tensor: Mapping[str, Any]) -> str:
    """TensorRT 11 has the type in a field of its own, 10 in a sentence with the layout."""
    return str(tensor.get("DataType") or tensor.get("Datatype") or tensor.get("Format/Datatype") or "")


def _type(words: str) -> str:
    lower = words.lower()
    return next((known for word, known in _TYPES if word in lower), UNKNOWN)


def _size(tensor: Mapping[str, Any]) -> int:
    """Bytes of one sample."""
    return int(abs(math.prod(tensor.get("Dimensions", [])[1:]))) * _BYTES.get(_type(_said(tensor)), 4)


def _macs(layer: Mapping[str, Any], kind: str, inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    """For one sample. A fused block whose sizes are not told counts as 1: it multiplies, nobody knows how much."""
    parameter = str(layer.get("ParameterType", ""))
    weights = layer.get("Weights")
    count = int(weights.get("Count", 0)) if isinstance(weights, Mapping) else 0
    if count and outputs and "Convolution" in parameter:
        return int(count * abs(math.prod(outputs[0]["Dimensions"][2:])))
    if count and inputs and "Deconvolution" in parameter:
        return int(count * abs(math.prod(inputs[0]["Dimensions"][2:])))
    if _PRODUCTS.search(parameter or kind) and inputs and outputs and "conv" not in kind.lower():
        return int(abs(math.prod(outputs[0]["Dimensions"][1:]) * inputs[0]["Dimensions"][-1]))
    return 1 if _PRODUCTS.search(kind) or kind.lower().startswith(("myelin", "kgen")) or "ForeignNode" in kind else 0
