"""What stands in the files of every format: integers, scales and zero points, read by the vendors' own readers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgesmith.artifact import Exported
from edgesmith.export.coreml import ct
from edgesmith.graph.capture import Program
from edgesmith.graph.rewrite import planned
from edgesmith.quant import BiasOf, QuantPlan, quantize

Weight = tuple[tuple[int, ...], bytes, bytes, bytes]  # shape, integers, scales, zero points
Grid = tuple[float, int, bool]  # scale, zero point, signed


@dataclass(frozen=True)
class Numbers:
    """Every quantized weight of a model, and the grids of its quantized values."""

    weights: Counter[Weight]
    grids: frozenset[Grid]


def numbers(weights: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]], grids: Iterable[Grid]) -> Numbers:
    """From (integers, scales, zero points) of each weight and the grid of each value."""
    return Numbers(Counter(_weight(*weight) for weight in weights), frozenset(grids))


def _weight(integers: np.ndarray, scale: np.ndarray, zero: np.ndarray) -> Weight:
    scales = np.broadcast_to(np.ravel(scale).astype(np.float32), len(integers))
    zeros = np.broadcast_to(np.ravel(zero).astype(np.int64), len(integers))
    return integers.shape, integers.astype(np.int8).tobytes(), scales.tobytes(), zeros.tobytes()


def planned_weights(program: Program, plan: QuantPlan) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(integers, scales, zero points) of every weight, computed from the plan alone."""
    rewritten = planned(program, plan)
    for path, node in rewritten.nodes.items():
        quant = plan.resolve(f"{path}:weight")
        if quant is not None:
            weight = rewritten.module.get_parameter(str(node.args[1].target)).detach().numpy()
            yield quantize(weight, quant), np.asarray(quant.scale), np.asarray(quant.zero_point)


def of_plan(program: Program, plan: QuantPlan) -> Numbers:
    """The numbers that must be in the file."""
    grids = set()
    for edge, how in plan.edges.items():
        quant = plan.resolve(edge)
        if quant is not None and not isinstance(how, BiasOf) and not edge.endswith(":weight"):
            grids.add((float(quant.scale), int(quant.zero_point), quant.spec.signed))
    return numbers(planned_weights(program, plan), grids)


def in_onnx(model: Any) -> Numbers:
    """The initialisers of DequantizeLinear with an integer weight (biases left out), and of QuantizeLinear."""
    from onnx import numpy_helper

    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    weights, grids = [], []
    for node in model.graph.node:
        scale, zero = (values.get(name) for name in node.input[1:3]) if len(node.input) == 3 else (None, None)
        if node.op_type == "DequantizeLinear" and node.input[0] in values and values[node.input[0]].ndim > 1:
            axis = next(attribute.i for attribute in node.attribute if attribute.name == "axis")
            weights.append((np.moveaxis(values[node.input[0]], axis, 0), scale, zero))
        if node.op_type == "QuantizeLinear":
            grids.append((float(scale), int(zero), zero.dtype == np.int8))
    return numbers(weights, grids)


def in_onnx_file(exported: Exported) -> Numbers:
    import onnx

    return in_onnx(onnx.load(exported.file))


def in_openvino(exported: Exported) -> Numbers:
    """The integer constants of the IR with what is subtracted and multiplied behind them, and its FakeQuantize."""
    import openvino

    weights, grids = [], []
    for node in openvino.Core().read_model(exported.file).get_ordered_ops():
        if node.get_type_name() == "Constant" and node.get_element_type().to_string() == "i8" and node.data.ndim > 1:
            weights.append((node.data, *_behind(node)))
        if node.get_type_name() == "FakeQuantize":
            scale, zero = map(float, _behind(node))
            low, high, first, last = (float(_constant(source)) for source in _sources(node)[1:])
            if (first, last) == (0.0, 255.0):  # both ways of saying it agree
                exact = np.float32(scale) * np.float32([first - zero, last - zero])
                np.testing.assert_allclose([low, high], exact, rtol=1e-6)
            grids.append((scale, int(zero), first < 0))
    return numbers(weights, grids)


def _sources(node: Any) -> list[Any]:
    return [port.get_source_output().get_node() for port in node.inputs()]


def _constant(node: Any) -> np.ndarray:
    while node.get_type_name() != "Constant":  # Convert and Reshape
        node = _sources(node)[0]
    return node.data


def _behind(node: Any) -> tuple[np.ndarray, np.ndarray]:
    """(scale, zero point) of the Subtract and Multiply that dequantize a node's value."""
    zero = np.zeros(1)
    while node.get_type_name() != "Multiply":
        (reader,) = {port.get_node() for port in node.output(0).get_target_inputs()}
        if reader.get_type_name() == "Subtract":
            zero = _constant(_sources(reader)[1])
        node = reader
    return _constant(_sources(node)[1]), zero


def core_ml_operations(package: Path) -> list[Any]:
    """The operations of an .mlpackage in order, constants with their values."""
    from coremltools.converters.mil.frontend.milproto.load import load

    model = ct.models.MLModel(str(package), skip_model_load=True)
    spec = model.get_spec()
    program = load(spec, specification_version=spec.specificationVersion, file_weights_dir=model.weights_dir)
    return list(program.functions["main"].operations)


def in_core_ml(exported: Exported) -> Numbers:
    """The blobs of constexpr_affine_dequantize and the constants of quantize."""
    weights, grids = [], []
    for operation in core_ml_operations(exported.file):
        if operation.op_type == "constexpr_affine_dequantize":
            weights.append((operation.quantized_data.val, operation.scale.val, operation.zero_point.val))
        if operation.op_type == "quantize":
            zero = 0 if operation.zero_point is None else int(operation.zero_point.val)
            grids.append((float(operation.scale.val), zero, operation.output_dtype.val == "int8"))
    return numbers(weights, grids)


def in_pte(exported: Exported, wanted: Numbers) -> Numbers:
    """What of `wanted` is in a .pte, whose XNNPACK part has no public reader: looked for as bytes.

    XNNPACK stores weights as (out, height, width, in), depthwise ones as (1, height, width, out), scales as float32.
    """
    content = exported.file.read_bytes()
    weights = {
        key: count
        for key, count in wanted.weights.items()
        if _stored_by_xnnpack(key) in content and key[2] in content and not any(key[3])
    }
    grids = {grid for grid in wanted.grids if np.float32(grid[0]).tobytes() in content}
    return Numbers(Counter(weights), frozenset(grids))


def _stored_by_xnnpack(weight: Weight) -> bytes:
    integers = np.frombuffer(weight[1], np.int8).reshape(weight[0])
    if integers.ndim == 4:
        integers = integers.transpose((1, 2, 3, 0) if integers.shape[1] == 1 < len(integers) else (0, 2, 3, 1))
    return np.ascontiguousarray(integers).tobytes()


READERS: dict[str, Callable[[Exported], Numbers]] = {
    "ort": in_onnx_file,
    "openvino": in_openvino,
    "coreml": in_core_ml,
}
