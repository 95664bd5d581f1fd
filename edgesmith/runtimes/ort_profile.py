"""ONNX Runtime's profile: which provider runs each node, as which operator, on what shapes.

Operators of a profile: a quantized layer that was not fused is a Conv between DequantizeLinear and QuantizeLinear,
one that was is a QLinearConv. On x86, blocks of channels are padded, so shapes of float layers may be too large.
"""

from __future__ import annotations

import bisect
import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edgesmith.errors import EngineFailed
from edgesmith.runtimes.executed import Executed, shape_class
from edgesmith.runtimes.profile import OperatorTime, Profile

_PRODUCTS = re.compile(r"(Conv|Gemm|MatMul|Attention)")
_INTEGER = re.compile(r"(QLinear|QGemm|QAttention|Integer|DynamicQuantize)")
_MOVES = re.compile(r"^(Memcpy|Reorder|Cast|QuantizeLinear|DequantizeLinear|Transpose)")
_MADE_NAME = re.compile(r"(_kernel_time|_token_\d+|_nchwc)$")
_TYPES = {"float": ("fp32", 4), "float16": ("fp16", 2), "bfloat16": ("bf16", 2), "double": ("fp64", 8)}
_SIZES = {"uint8": 1, "int8": 1, "bool": 1, "int16": 2, "uint16": 2, "int32": 4, "uint32": 4, "int64": 8, "uint64": 8}


def read_profile(file: Path) -> tuple[Executed, ...]:
    """The nodes of a profile, in the order in which they ran first. Raises: EngineFailed for another file."""
    try:
        events = json.loads(file.read_text())
        nodes = [e for e in events if e.get("cat") == "Node" and e["name"].endswith("_kernel_time")]
        if not nodes:
            raise ValueError("no operator ran")
        first = {str(event["name"]): event for event in reversed(nodes)}
        ordered = sorted(first.values(), key=lambda event: int(event["ts"]))
        return tuple(_executed(str(event["name"]), event["args"]) for event in ordered)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise EngineFailed(f"read the profile {file.name} of onnxruntime", f"{error!r}", "profile it again") from error


def read_times(file: Path, runs: int) -> Profile:
    """What every node took in each of the last `runs` runs. Raises: EngineFailed for another file, or fewer runs."""
    try:
        events = json.loads(file.read_text())
        whole = sorted((e for e in events if e.get("name") == "model_run"), key=lambda event: int(event["ts"]))[-runs:]
        starts = [int(event["ts"]) for event in whole]
        nodes = [e for e in events if e.get("cat") == "Node" and e["name"].endswith("_kernel_time")]
        if len(whole) != runs or not nodes:
            raise ValueError(f"{len(whole)} runs of {len(nodes)} operators")
        taken: dict[tuple[str, str], list[float]] = {}
        for event in sorted(nodes, key=lambda event: int(event["ts"])):
            run = bisect.bisect_right(starts, int(event["ts"])) - 1
            key = (str(event["name"]), str(event["args"].get("node_index", "")))
            if run >= 0:
                taken.setdefault(key, [0.0] * runs)[run] += event["dur"] / 1e3
        kinds = {str(event["name"]): str(event["args"]["op_name"]) for event in nodes}
        operators = tuple(OperatorTime((_plain(key[0]),), kinds[key[0]], tuple(ms)) for key, ms in taken.items())
        return Profile(operators, tuple(event["dur"] / 1e3 for event in whole), "onnxruntime's profile")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise EngineFailed(f"read the profile {file.name} of onnxruntime", f"{error!r}", "profile it again") from error


def _executed(name: str, facts: Mapping[str, Any]) -> Executed:
    op, unit = str(facts["op_name"]), str(facts["provider"])
    inputs, outputs = list(_values(facts["input_type_shape"])), list(_values(facts["output_type_shape"]))
    moves = _MOVES.match(op) is not None
    written = _bytes(outputs)
    macs, shape = _macs(op, inputs, outputs), _shape(op, inputs)
    moved, touched = written if moves else None, written + _bytes(inputs)
    return Executed((_plain(name),), op, _precision(op, inputs), unit, macs, moves, moved, shape, touched)


def _bytes(values: list[tuple[str, list[int]]]) -> int:
    return sum(math.prod(shape) * _size(kind) for kind, shape in values)


def _shape(op: str, inputs: list[tuple[str, list[int]]]) -> str:
    """The class of a convolution, by its weights: outputs, inputs of one group, window."""
    weights = next((shape for _, shape in inputs[1:] if len(shape) > 2), None)
    return shape_class(weights[1], weights[2:]) if weights and "Conv" in op else ""


def _plain(name: str) -> str:
    """The name in the file: without what ONNX Runtime adds for its rewrites."""
    name = name.removeprefix("fused ")
    while (shorter := _MADE_NAME.sub("", name)) != name:
        name = shorter
    return name


def _values(entries: list[Mapping[str, list[int]]]) -> Iterator[tuple[str, list[int]]]:
    for entry in entries:
        yield from entry.items()


def _precision(op: str, inputs: list[tuple[str, list[int]]]) -> str:
    if _INTEGER.search(op):
        return "int8"
    return next((_TYPES[kind][0] for kind, _ in inputs if kind in _TYPES), inputs[0][0] if inputs else "")


def _size(kind: str) -> int:
    return _TYPES[kind][1] if kind in _TYPES else _SIZES.get(kind, 1)


def _macs(op: str, inputs: list[tuple[str, list[int]]], outputs: list[tuple[str, list[int]]]) -> int:
    """For one sample: numbers of the output, times what one of them sums over."""
    found = _PRODUCTS.search(op)
    operands = [shape for _, shape in inputs if len(shape) > 1]
    if found is None or not operands or not outputs:
        return 0
    values = math.prod(outputs[0][1][1:])
    if found.group() == "Conv" and "Transpose" in op and len(operands) > 1:
        return math.prod(operands[0][1:]) * math.prod(operands[1][1:])
    if found.group() == "Conv" and len(operands) > 1:
        return values * math.prod(operands[1][1:])
    return values * operands[0][-1]
