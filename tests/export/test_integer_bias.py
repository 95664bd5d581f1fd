import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from edgesmith.export.integer_bias import integer_biases
from edgesmith.export.onnx import export
from edgesmith.targets import target
from tests.export.quantized import planned


def executed(file: str | bytes, feed: dict[str, np.ndarray], folder) -> tuple[list[np.ndarray], list[str]]:
    options = onnxruntime.SessionOptions()
    options.enable_profiling, options.profile_file_prefix = True, str(folder / "profile")
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    outputs = session.run(None, feed)
    events = json.loads(Path(session.end_profiling()).read_text())
    return outputs, [e["args"]["op_name"] for e in events if e.get("name", "").endswith("kernel_time")]


def test_a_last_linear_layer_computes_in_integers(tmp_path):
    program, plan = planned("linear", "ort")
    exported = export(program, plan, target("ort-int8"), tmp_path)
    onnx.checker.check_model(onnx.load(exported.file), full_check=True)
    feed = {
        spec.name: np.random.default_rng(0).standard_normal((1, *spec.shape[1:])).astype("f")
        for spec in exported.inputs
    }
    _, operators = executed(str(exported.file), feed, tmp_path)
    assert "QGemm" in operators and "Gemm" not in operators


def test_the_biases_are_those_of_the_plan_on_the_grid_of_the_product(tmp_path):
    program, plan = planned("linear", "ort")
    model = onnx.load(export(program, plan, target("ort-int8"), tmp_path).file)
    values = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    (gemm,) = [n for n in model.graph.node if n.op_type == "Gemm" and n.output[0] == model.graph.output[0].name]
    made = {node.output[0]: node for node in model.graph.node}
    integers, scale, zero = (values[name] for name in made[gemm.input[2]].input)
    product = values[made[gemm.input[0]].input[1]] * values[made[gemm.input[1]].input[1]]
    assert integers.dtype == np.int32 and not zero.any()
    np.testing.assert_array_equal(scale, product)
    path = gemm.output[0]
    last = [node for node in program.module.graph.nodes if node.name in program.paths][-1]
    bias = program.module.get_parameter(str(last.args[2].target)).detach().numpy()
    shift = plan.bias_shifts.get(program.paths[last.name], 0.0)
    assert np.abs(integers * scale - (bias + np.asarray(shift))).max() <= scale.max() / 2 * 1.001, path


def gemm(bias: np.ndarray, scale: float = 0.1) -> onnx.ModelProto:
    """x (1, 2) uint8 times w (2, 3) int8 plus bias, dequantized in front of the Gemm."""
    constants = {
        "w": np.arange(6, dtype=np.int8).reshape(2, 3),
        "ws": np.array([scale, 2 * scale, 3 * scale], np.float32),
        "wz": np.zeros(3, np.int8),
        "s": np.float32(0.5),
        "z": np.uint8(3),
        "b": bias,
    }
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "s", "z"], ["xf"]),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wf"], axis=1),
        helper.make_node("Gemm", ["xf", "wf", "b"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, [1, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def test_the_answer_is_the_same_to_half_a_step(tmp_path):
    bias = np.array([0.33, -1.01, 7.7], np.float32)
    before, after = gemm(bias), gemm(bias)
    integer_biases(after)
    assert [item.name for item in after.graph.initializer if item.name == "b"] == []
    feed = {"x": np.array([[7, 200]], np.uint8)}
    (first,), _ = executed(before.SerializeToString(), feed, tmp_path)
    (second,), operators = executed(after.SerializeToString(), feed, tmp_path)
    assert operators == ["QGemm"]
    assert (np.abs(first - second)[0] <= np.array([0.1, 0.2, 0.3]) * 0.5 / 2 + 1e-5).all()


def test_a_bias_that_does_not_fit_into_int32_stays():
    model = gemm(np.array([1e9, 0, 0], np.float32), scale=1e-3)
    before = model.SerializeToString(deterministic=True)
    integer_biases(model)
    assert model.SerializeToString(deterministic=True) == before
