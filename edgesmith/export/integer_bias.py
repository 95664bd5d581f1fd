"""The int32 bias without which ONNX Runtime leaves a quantized linear layer with a float output in float.

It makes integers of float biases by itself, but only in front of a QuantizeLinear. A last layer, whose output stays
float, would unpack its whole weight and multiply in float at every inference.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import helper, numpy_helper

_MOST = np.iinfo(np.int32).max


def integer_biases(model: onnx.ModelProto) -> None:
    """Replace the float bias of every Gemm of dequantized input and weight.

    The scale is that of the product, input times weight (one for each output channel). A bias that does not fit into
    int32 stays as it is. Source: onnxruntime's documentation of QGemm, input C.
    """
    graph = model.graph
    made = {name: node for node in graph.node for name in node.output}
    constants = {item.name: item for item in graph.initializer}
    nodes = []
    for node in graph.node:
        if node.op_type == "Gemm" and len(node.input) == 3 and node.input[2] in constants:
            scale = _scale_of_product(node, made, constants)
            bias = numpy_helper.to_array(constants[node.input[2]])
            if scale is not None and (np.abs(bias / scale) < _MOST).all():
                nodes.append(_dequantized(graph, node, bias, scale))
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    _drop_unread(graph)


def _scale_of_product(
    gemm: onnx.NodeProto, made: Mapping[str, onnx.NodeProto], constants: Mapping[str, onnx.TensorProto]
) -> np.ndarray | None:
    scale = np.ones((), np.float32)
    for name in gemm.input[:2]:
        source = made.get(name)
        if source is None or source.op_type != "DequantizeLinear" or source.input[1] not in constants:
            return None
        scale = scale * numpy_helper.to_array(constants[source.input[1]])
    return scale


def _dequantized(graph: onnx.GraphProto, gemm: onnx.NodeProto, bias: np.ndarray, scale: np.ndarray) -> onnx.NodeProto:
    """Put the bias as integers into the graph. Returns: the node that makes it float again, `gemm` reads it."""
    name = f"{gemm.output[0]}.bias"
    integers = np.rint(bias.astype(np.float64) / scale).astype(np.int32)
    values = {"": integers, ".scale": scale.astype(np.float32), ".zero_point": np.zeros(scale.shape, np.int32)}
    graph.initializer.extend(numpy_helper.from_array(value, name + end) for end, value in values.items())
    gemm.input[2] = f"{name}.dequantized"
    return helper.make_node("DequantizeLinear", [name + end for end in values], [gemm.input[2]], f"{name}.dq", axis=0)


def _drop_unread(graph: onnx.GraphProto) -> None:
    read = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    for item in [item for item in graph.initializer if item.name not in read]:
        graph.initializer.remove(item)
