"""The integer model of the operators against PyTorch's fake quantization, ONNX Runtime and OpenVINO.

Every test feeds the same integers and compares integers. Tolerance: one step, and at least 99 % equal; results that lie
within float32 rounding of a half are the ones that may differ.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnxruntime
import openvino
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from edgesmith import quant_reference as reference
from edgesmith.errors import UsageError
from edgesmith.quant import S8_PER_CHANNEL, S8_SYMMETRIC, U8_AFFINE, EdgeQuant, QuantSpec, choose, dequantize, quantize
from edgesmith.targets import S7_PER_CHANNEL


@dataclass(frozen=True)
class Case:
    """One operator with its constants: `kind` is conv, depthwise or linear."""

    kind: str
    x: np.ndarray
    x_quant: EdgeQuant
    weight: np.ndarray
    weight_quant: EdgeQuant
    bias: np.ndarray
    out_quant: EdgeQuant


SHAPES = {
    "conv": ((2, 6, 9, 8), (4, 3, 3, 3)),
    "depthwise": ((2, 6, 9, 8), (6, 1, 3, 3)),
    "linear": ((40, 24), (7, 24)),
}
GROUPS = {"conv": 2, "depthwise": 6}


def case(kind: str, activation: QuantSpec = U8_AFFINE, weight_spec: QuantSpec = S8_PER_CHANNEL) -> Case:
    rng = np.random.default_rng(3)
    x_shape, w_shape = SHAPES[kind]
    x, w = rng.normal(0.3, 1, x_shape).astype(np.float32), rng.normal(0, 0.5, w_shape).astype(np.float32)
    bias = rng.normal(0, 1, w_shape[0]).astype(np.float32)
    x_quant = choose(activation, -2.5, 3.5)
    rows = w.reshape(len(w), -1)
    w_quant = choose(weight_spec, rows.min(1), rows.max(1))
    return Case(kind, quantize(x, x_quant), x_quant, quantize(w, w_quant), w_quant, bias, choose(activation, -3, 4))


def run_reference(c: Case) -> np.ndarray:
    arguments = (c.x, c.x_quant, c.weight, c.weight_quant, c.bias, c.out_quant)
    if c.kind == "linear":
        return reference.linear(*arguments)
    if c.kind == "depthwise":
        return reference.depthwise_conv2d(*arguments, stride=(2, 1), padding=(1, 1))
    return reference.conv2d(*arguments, stride=(2, 1), padding=(1, 1), groups=2)


def run_fake_quant(c: Case) -> np.ndarray:
    x, w = (torch.from_numpy(dequantize(q, quant)) for q, quant in ((c.x, c.x_quant), (c.weight, c.weight_quant)))
    bias = torch.from_numpy(c.bias)
    if c.kind == "linear":
        y = torch.nn.functional.linear(x, w, bias)
    else:
        y = torch.nn.functional.conv2d(x, w, bias, stride=(2, 1), padding=1, groups=GROUPS[c.kind])
    return quantize(y.numpy(), c.out_quant)


def onnx_model(c: Case) -> bytes:
    """x integers -> DequantizeLinear -> operator with an integer weight -> QuantizeLinear -> integers."""
    dtype = TensorProto.INT8 if c.x_quant.spec.signed else TensorProto.UINT8
    kind = np.int8 if c.x_quant.spec.signed else np.uint8
    constants = {
        "sx": np.float32(c.x_quant.scale),
        "zx": kind(c.x_quant.zero_point),
        "sy": np.float32(c.out_quant.scale),
        "zy": kind(c.out_quant.zero_point),
        "w": c.weight.astype(np.int8),
        "sw": np.asarray(c.weight_quant.scale),
        "zw": np.zeros(len(c.weight), np.int8),
        "b": c.bias,
    }
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "sx", "zx"], ["xf"]),
        helper.make_node("DequantizeLinear", ["w", "sw", "zw"], ["wf"], axis=0),
    ]
    if c.kind == "linear":
        nodes.append(helper.make_node("Gemm", ["xf", "wf", "b"], ["yf"], transB=1))
    else:
        options = {"strides": [2, 1], "pads": [1] * 4, "group": GROUPS[c.kind]}
        nodes.append(helper.make_node("Conv", ["xf", "wf", "b"], ["yf"], **options))
    nodes.append(helper.make_node("QuantizeLinear", ["yf", "sy", "zy"], ["y"]))
    return serialise(nodes, constants, {"x": c.x.shape}, dtype)


def serialise(nodes: list, constants: dict[str, np.ndarray], inputs: dict[str, tuple], dtype: int) -> bytes:
    graph = helper.make_graph(
        nodes,
        "operator",
        [helper.make_tensor_value_info(name, dtype, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info("y", dtype, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()


def run_ort(model: bytes, feed: dict[str, np.ndarray]) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return session.run(None, feed)[0].astype(np.int32)


def run_openvino(model: bytes, feed: dict[str, np.ndarray]) -> np.ndarray:
    core = openvino.Core()
    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    return core.compile_model(core.read_model(model=model), "CPU", options)(feed)[0].astype(np.int32)


def assert_close(found: np.ndarray, wanted: np.ndarray) -> None:
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= 1
    assert (found == wanted).mean() >= 0.99


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("activation", [U8_AFFINE, S8_SYMMETRIC])
def test_reference_is_the_fake_quantized_operator(kind: str, activation: QuantSpec) -> None:
    c = case(kind, activation)
    found = run_reference(c)
    assert_close(run_fake_quant(c), found)
    assert len(np.unique(found)) > 50  # the comparison is about something


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("run", [run_ort, run_openvino])
def test_runtimes_compute_the_reference(kind: str, run: Callable) -> None:
    """7-bit weights: right on every x86, with VNNI or without."""
    c = case(kind, weight_spec=S7_PER_CHANNEL)
    assert_close(run(onnx_model(c), {"x": c.x.astype(np.uint8)}), run_reference(c))


@pytest.mark.parametrize("run", [run_ort, run_openvino])
@pytest.mark.parametrize("operator", ["add", "relu", "clip"])
def test_runtimes_compute_the_elementwise_reference(run: Callable, operator: str) -> None:
    rng = np.random.default_rng(1)
    a, b = (rng.integers(0, 256, (1, 4, 6, 5)).astype(np.uint8) for _ in range(2))
    a_quant, b_quant = choose(U8_AFFINE, -3.1417, 8.0231), choose(U8_AFFINE, -0.977, 1.5313)  # no exact halves
    out = choose(U8_AFFINE, -4.0117, 9.1071) if operator == "add" else choose(U8_AFFINE, 0, 5.9973)
    constants = {
        f"{kind}{name}": value
        for name, quant in (("a", a_quant), ("b", b_quant), ("y", out))
        for kind, value in (("s", np.float32(quant.scale)), ("z", np.uint8(quant.zero_point)))
    }
    dequantized = [helper.make_node("DequantizeLinear", [n, f"s{n}", f"z{n}"], [f"{n}f"]) for n in "ab"]
    if operator == "add":
        middle, wanted = [helper.make_node("Add", ["af", "bf"], ["yf"])], reference.add(a, a_quant, b, b_quant, out)
    elif operator == "relu":
        middle, wanted = [helper.make_node("Relu", ["af"], ["yf"])], reference.clip(a, a_quant, out)
    else:
        constants |= {"low": np.float32(0), "high": np.float32(6)}
        middle = [helper.make_node("Clip", ["af", "low", "high"], ["yf"])]
        wanted = reference.clip(a, a_quant, out, high=6.0)
    feed = {"a": a, "b": b} if operator == "add" else {"a": a}
    last = helper.make_node("QuantizeLinear", ["yf", "sy", "zy"], ["y"])
    nodes = [*dequantized[: len(feed)], *middle, last]
    model = serialise(nodes, constants, {name: value.shape for name, value in feed.items()}, TensorProto.UINT8)
    assert_close(run(model, feed), wanted)


# Operator of ONNX -> the node's attributes, and whether the output is on the input's own grid.
POOLS = {
    "MaxPool": ({"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 1, 1, 1]}, True),
    "AveragePool": ({"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 1, 1, 1]}, False),
    "AveragePool counting": (
        {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 1, 1, 1], "count_include_pad": 1},
        False,
    ),
    "GlobalAveragePool": ({}, False),
}


def run_pool(name: str, x: np.ndarray, x_quant: EdgeQuant, out: EdgeQuant) -> np.ndarray:
    window: dict = {"kernel": (3, 2), "stride": (2, 1), "padding": (1, 1)}
    if name == "MaxPool":
        return reference.max_pool2d(x, **window)
    if name == "GlobalAveragePool":
        return reference.global_average(x, x_quant, out)
    return reference.avg_pool2d(x, x_quant, out, **window, count_padding="counting" in name)


def qdq(nodes: list, grids: dict[str, EdgeQuant], shapes: dict[str, tuple]) -> bytes:
    """Dequantize the inputs, compute `nodes` from "<input>f" to "yf", quantize."""
    constants = {
        f"{kind}{name}": value
        for name, quant in grids.items()
        for kind, value in (("s", np.float32(quant.scale)), ("z", np.uint8(quant.zero_point)))
    }
    first = [helper.make_node("DequantizeLinear", [n, f"s{n}", f"z{n}"], [f"{n}f"]) for n in shapes]
    last = helper.make_node("QuantizeLinear", ["yf", "sy", "zy"], ["y"])
    return serialise([*first, *nodes, last], constants, shapes, TensorProto.UINT8)


def pooled(name: str, low: float, run: Callable) -> tuple[np.ndarray, np.ndarray]:
    """What a runtime and the reference compute on a grid from `low` to 8."""
    attributes, moves = POOLS[name]
    x = np.random.default_rng(2).integers(0, 256, (2, 5, 9, 7)).astype(np.uint8)
    x_quant = choose(U8_AFFINE, low, 8.0231)
    out = x_quant if moves else choose(U8_AFFINE, -1.3303, 5.0171)
    node = helper.make_node(name.split()[0], ["xf"], ["yf"], **attributes)
    return run(qdq([node], {"x": x_quant, "y": out}, {"x": x.shape}), {"x": x}), run_pool(name, x, x_quant, out)


@pytest.mark.parametrize("run", [run_ort, run_openvino])
@pytest.mark.parametrize("name", POOLS)
@pytest.mark.parametrize("low", [0.0, -3.1417])
def test_runtimes_compute_the_reference_of_pooling(run: Callable, name: str, low: float) -> None:
    if run is run_openvino and "counting" in name and low < 0:
        return  # the next test
    found, wanted = pooled(name, low, run)
    assert len(np.unique(wanted)) > 5
    np.testing.assert_array_equal(found, wanted) if name == "MaxPool" else assert_close(found, wanted)


def test_openvino_pads_averages_with_the_integer_zero() -> None:
    """A known error of OpenVINO 2026.4 (docs/compatibility.md): at borders only, where the zero point is not 0."""
    found, wanted = pooled("AveragePool counting", -3.1417, run_openvino)
    assert_close(found[:, :, 1:-1, 1:-1], wanted[:, :, 1:-1, 1:-1])
    assert np.abs(found - wanted).max() > 10, "it is right now: compare it like the others"


@pytest.mark.parametrize("run", [run_ort, run_openvino])
@pytest.mark.parametrize("operator", ["Mul", "Concat"])
def test_runtimes_compute_the_reference_of_two_inputs(run: Callable, operator: str) -> None:
    rng = np.random.default_rng(4)
    a, b = (rng.integers(0, 256, (1, 4, 6, 5)).astype(np.uint8) for _ in range(2))
    grids = {"a": choose(U8_AFFINE, -3.1417, 8.0231), "b": choose(U8_AFFINE, -0.977, 1.5313)}
    grids["y"] = choose(U8_AFFINE, -4.0117, 9.1071)
    options = {"axis": 1} if operator == "Concat" else {}
    model = qdq([helper.make_node(operator, ["af", "bf"], ["yf"], **options)], grids, {"a": a.shape, "b": b.shape})
    if operator == "Mul":
        wanted = reference.mul(a, grids["a"], b, grids["b"], grids["y"])
    else:
        wanted = reference.concat([(a, grids["a"]), (b, grids["b"])], grids["y"])
    assert_close(run(model, {"a": a, "b": b}), wanted)


@pytest.mark.parametrize("counting", [True, False])
def test_pooling_agrees_with_torch(counting: bool) -> None:
    x = np.random.default_rng(5).integers(0, 256, (2, 3, 7, 6))
    quant, out = choose(U8_AFFINE, -2.0, 3.1), choose(U8_AFFINE, -1.7, 2.9)
    real = torch.from_numpy(dequantize(x, quant))
    mean = torch.nn.functional.avg_pool2d(real, (3, 2), (2, 1), (1, 1), count_include_pad=counting)
    found = reference.avg_pool2d(x, quant, out, (3, 2), (2, 1), (1, 1), counting)
    assert_close(quantize(mean.numpy(), out), found)
    largest = torch.nn.functional.max_pool2d(real, (3, 2), (2, 1), (1, 1)).numpy()
    np.testing.assert_array_equal(quantize(largest, quant), reference.max_pool2d(x, (3, 2), (2, 1), (1, 1)))


def test_concat_of_parts_on_one_grid_moves_integers() -> None:
    x = np.arange(256).reshape(1, 4, 8, 8)
    quant = choose(U8_AFFINE, -1.0, 2.7)
    np.testing.assert_array_equal(reference.concat([(x, quant), (x, quant)], quant), np.concatenate([x, x], 1))


def test_dilated_convolution_agrees_with_torch() -> None:
    c = case("conv")
    arguments = (c.x, c.x_quant, c.weight, c.weight_quant, None, c.out_quant)
    found = reference.conv2d(*arguments, dilation=(2, 2), groups=2)
    x, w = (torch.from_numpy(dequantize(q, quant)) for q, quant in ((c.x, c.x_quant), (c.weight, c.weight_quant)))
    y = torch.nn.functional.conv2d(x, w, dilation=2, groups=2)
    assert_close(quantize(y.numpy(), c.out_quant), found)


def test_padding_is_the_zero_point() -> None:
    """A picture of real zeros gives the bias everywhere, borders included, whatever the zero point."""
    c = case("conv")
    zeros = np.full_like(c.x, int(c.x_quant.zero_point))
    found = reference.conv2d(zeros, c.x_quant, c.weight, c.weight_quant, c.bias, c.out_quant, padding=(1, 1), groups=2)
    assert np.array_equal(found[0, :, 0, 0], found[0, :, 4, 4])


def test_results_outside_the_range_saturate() -> None:
    c = case("linear")
    narrow = choose(U8_AFFINE, -0.01, 0.01)
    found = reference.linear(c.x, c.x_quant, c.weight, c.weight_quant, c.bias, narrow)
    assert set(np.unique(found)) <= set(range(256)) and {0, 255} <= set(np.unique(found))


def test_a_bias_that_overflows_is_an_error() -> None:
    c = case("linear")
    tiny = EdgeQuant(c.weight_quant.spec, np.full_like(c.weight_quant.scale, 1e-12), c.weight_quant.zero_point)
    with pytest.raises(UsageError, match="int32"):
        reference.linear(c.x, c.x_quant, c.weight, tiny, c.bias, c.out_quant)
