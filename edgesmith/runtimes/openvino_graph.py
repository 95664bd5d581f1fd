"""OpenVINO's execution graph: what each operator became, in which type it runs, and what only moves values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from edgesmith.runtimes.executed import UNKNOWN, Executed, shape_class
from edgesmith.runtimes.profile import OperatorTime, Profile

_PRECISION = {"f32": "fp32", "f16": "fp16", "bf16": "bf16", "u8": "int8", "i8": "int8", "f64": "fp64"}
_SIZES = {"f64": 8, "f32": 4, "i32": 4, "f16": 2, "bf16": 2, "u8": 1, "i8": 1, "i64": 8}
_MOVES = ("Reorder", "Convert", "Transpose")
# Several operators in one kernel, which shows the type of its inputs only.
_FUSED = "Subgraph"
_NO_WORK = ("Input", "Output", "Const")
# The ONNX frontend writes a convolution and its bias apart, and calls the first one so.
_WITHOUT_BIAS = "/WithoutBiases"
_SCALED = "/DequantizationMultiply"  # a quantized product, by the name of the scale that was fused into it
_CONVOLUTIONS = ("Convolution", "GroupConvolution")
_TRANSPOSED = ("ConvolutionBackpropData", "GroupConvolutionBackpropData")


def executed(compiled: Any, model: Any) -> tuple[Executed, ...]:
    """The operators of a compiled model in the order of execution. model: as it was read, which knows all shapes."""
    products = {op.get_friendly_name(): (_macs(op), _shape(op)) for op in model.get_ops()}
    unit = ",".join(compiled.get_property("EXECUTION_DEVICES"))
    nodes = [(int(_fact(op, "execOrder")), op) for op in compiled.get_runtime_model().get_ops()]
    ordered = [op for _, op in sorted(nodes, key=lambda pair: pair[0])]
    return tuple(_executed(op, unit, products) for op in ordered if _fact(op, "layerType") not in _NO_WORK)


def timed(operators: Sequence[Executed], counted: Sequence[Mapping[str, float]], whole_ms: Sequence[float]) -> Profile:
    """The operators with their times. counted: for each run, milliseconds by the operator's name."""
    found = [OperatorTime(o.names, o.op, tuple(run.get(o.names[0], 0.0) for run in counted)) for o in operators]
    return Profile(tuple(o for o in found if any(o.ms)), tuple(whole_ms), "openvino's performance counters")


def _executed(op: Any, unit: str, products: dict[str, tuple[int, str]]) -> Executed:
    kind, run_in = _fact(op, "layerType"), _fact(op, "runtimePrecision")
    originals = [name.removesuffix(_SCALED) for name in _fact(op, "originalLayersNames").split(",") if name]
    called = [op.get_friendly_name(), *originals]
    names = [*called, *(name.removesuffix(_WITHOUT_BIAS) for name in called)]
    moves = kind in _MOVES and not _is_constant(op)
    own = [products[name] for name in dict.fromkeys(originals) if name in products]
    work, shape = sum(macs for macs, _ in own), next((shape for _, shape in own if shape), "")
    precision = UNKNOWN if kind == _FUSED else _PRECISION.get(run_in, run_in)
    moved = _bytes(op) if moves else None
    touched = _touched(op)
    return Executed(tuple(dict.fromkeys(names)), kind, precision, unit, work, moves, moved, shape, touched)


def _fact(op: Any, name: str) -> str:
    facts = op.get_rt_info()
    return str(facts[name].astype(str)) if name in facts else ""


def _is_constant(op: Any) -> bool:
    """Whether it moves a weight: that happens once, when the model is compiled."""
    return all(_fact(value.get_source_output().get_node(), "layerType") == "Const" for value in op.inputs())


def _bytes(op: Any, place: int = 0) -> int | None:
    """Bytes of an output: its type is a fact of the operator, not of the port."""
    shape = op.output(place).get_partial_shape()
    if shape.is_dynamic:
        return None
    types = _fact(op, "outputPrecisions").split(",")
    return math.prod(shape.to_shape()) * _SIZES.get(types[min(place, len(types) - 1)], 4)


def _touched(op: Any) -> int | None:
    """Bytes of its inputs (weights are constants of the graph) and outputs."""
    sources = [value.get_source_output() for value in op.inputs()]
    read = [_bytes(one.get_node(), one.get_index()) for one in sources]
    sizes = [*read, *(_bytes(op, place) for place in range(len(op.outputs())))]
    return None if None in sizes else sum(size for size in sizes if size)


def _shape(op: Any) -> str:
    """The class of a convolution, by its weights."""
    kind = op.get_type_name()
    if kind not in (*_CONVOLUTIONS, *_TRANSPOSED):
        return ""
    weights = _sizes(op.input(1))
    grouped = 2 if kind.startswith("Group") else 1
    return shape_class(weights[grouped], weights[grouped + 1 :])


def _macs(op: Any) -> int:
    """For one sample: numbers of the output, times what one of them sums over."""
    kind = op.get_type_name()
    if kind not in (*_CONVOLUTIONS, *_TRANSPOSED, "MatMul"):
        return 0
    first, second, out = (_sizes(p) for p in (op.input(0), op.input(1), op.output(0)))
    if kind in _CONVOLUTIONS:
        grouped = 2 if kind.startswith("Group") else 1
        return math.prod(out[1:]) * math.prod(second[grouped:])
    if kind in _TRANSPOSED:
        grouped = 2 if kind.startswith("Group") else 1
        return math.prod(first[1:]) * math.prod(second[grouped:])
    summed = first[-2] if op.get_attributes().get("transpose_a") else first[-1]
    return math.prod(out[1:]) * summed


def _sizes(port: Any) -> list[int]:
    """A shape for one sample; an axis of any size counts once."""
    return [1 if axis.is_dynamic else axis.get_length() for axis in port.get_partial_shape()]
