import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper

from edgesmith.export.exporter import prepared
from edgesmith.export.onnx import OPSET, export
from edgesmith.graph import rewrite
from edgesmith.graph.capture import capture
from edgesmith.quant import quantize
from edgesmith.targets import target
from tests.export.quantized import planned
from tests.models import tiny


@pytest.fixture(scope="module", params=["residual", "depthwise", "linear", "two"])
def int8(request, tmp_path_factory):
    program, plan = planned(request.param, "ort")
    return program, plan, export(program, plan, target("ort-int8"), tmp_path_factory.mktemp("int8"))


def constants(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    found = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            found[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    return found


def test_one_file_with_version_and_target_and_no_local_paths(tmp_path):
    program = capture(tiny("residual"), {"x": torch.zeros(1, 3, 8, 8)})
    exported = export(program, None, target("ort-fp32"), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    model = onnx.load(exported.file)
    onnx.checker.check_model(model, full_check=True)
    assert {entry.key: entry.value for entry in model.metadata_props}["target"] == "ort-fp32"
    assert model.opset_import[0].version == OPSET
    assert b"/tests/models.py" not in exported.file.read_bytes()


def test_a_dynamic_batch_bears_its_name(tmp_path):
    example = {"image": torch.zeros(1, 3, 8, 8), "context": torch.zeros(1, 4)}
    program = capture(tiny("two"), example, dynamic_batch=True)
    session = onnxruntime.InferenceSession(export(program, None, target("ort-fp32"), tmp_path).file)
    assert [value.shape for value in session.get_inputs()] == [["batch", 3, 8, 8], ["batch", 4]]
    assert [value.shape for value in session.get_outputs()] == [["batch", 5], ["batch", 8]]


def test_the_plans_scales_and_zero_points_are_in_the_file(int8):
    _, plan, exported = int8
    model = onnx.load(exported.file)
    values = constants(model)
    resolved = {edge: plan.resolve(edge) for edge in plan.edges if not edge.endswith(":bias")}
    tensors = {(float(q.scale), int(q.zero_point)) for q in resolved.values() if q and q.spec.axis is None}
    channels = [q for q in resolved.values() if q and q.spec.axis is not None]
    nodes = [node for node in model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert nodes
    seen = set()
    for node in nodes:
        scale, zero = values[node.input[1]], values[node.input[2]]
        if zero.dtype == np.int32:
            continue  # the bias of a last layer: tests/export/test_integer_bias.py
        if scale.ndim == 0:
            seen.add((float(scale), int(zero)))
        else:
            assert any(np.array_equal(scale, q.scale) and np.array_equal(zero, q.zero_point) for q in channels)
    assert seen <= tensors
    unread = {
        edge
        for edge, q in resolved.items()
        if q and q.spec.axis is None and (float(q.scale), int(q.zero_point)) not in seen
    }
    assert not unread


@pytest.mark.parametrize("net", ["residual", "linear"])
def test_the_weights_in_the_file_are_those_of_the_plan(net, tmp_path):
    program, plan = planned(net, "ort")
    values = constants(onnx.load(export(program, plan, target("ort-int8"), tmp_path).file))
    stored = [array for array in values.values() if array.dtype == np.int8 and array.ndim > 1]
    rewritten = rewrite.planned(program, plan)
    for path, node in rewritten.nodes.items():
        if f"{path}:weight" in plan.edges:
            weight = rewritten.module.get_parameter(str(node.args[1].target)).detach().numpy()
            expected = quantize(weight, plan.resolve(f"{path}:weight"))
            same_shape = [array for array in stored if array.shape == expected.shape]
            transposed = [array.T for array in stored if array.ndim == 2 and array.T.shape == expected.shape]
            assert any(np.array_equal(array, expected) for array in same_shape + transposed), path
    assert stored


def test_int8_runs_and_agrees_with_the_simulation(int8):
    program, plan, exported = int8
    torch.manual_seed(7)
    inputs = [torch.randn(1, *spec.shape[1:]) for spec in program.inputs]
    simulated = prepared(program, plan, target("ort-int8")).module(*inputs)
    session = onnxruntime.InferenceSession(exported.file)
    found = session.run(None, {spec.name: value.numpy() for spec, value in zip(program.inputs, inputs)})
    assert exported.plan_digest == plan.digest()
    for wanted, got in zip(simulated, found, strict=True):
        wanted = wanted.detach().numpy()
        # A value that falls on the border between two steps may go either way, nothing more.
        assert np.abs(got - wanted).mean() < 0.01 * np.abs(wanted).max()
