"""A plan in the graph: its numbers, and what comes out on runtimes, operator by operator."""

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
import torch
from torch import Tensor, nn

from edgesmith import quant_reference as reference
from edgesmith.compress.quantize.observe import observe
from edgesmith.compress.quantize.plan import derive
from edgesmith.errors import UsageError
from edgesmith.graph import rewrite
from edgesmith.graph.capture import Program, capture, exported_program, node_names
from edgesmith.graph.qdq import apply_plan
from edgesmith.quant import EdgeQuant, QuantPlan, choose, quantize
from tests.compress.quantize.test_plan import FAMILIES, planned
from tests.graph.test_activations import values, wild
from tests.graph.test_capture import captured, example
from tests.models import TINY, tiny

_quantize = torch.ops.quantized_decomposed.quantize_per_tensor.default


@pytest.mark.parametrize("name", [*TINY, "two"])
@pytest.mark.parametrize(("family", "isa"), FAMILIES[2:])
def test_the_program_with_the_plan_is_close_to_the_float_one(name: str, family: str, isa: str) -> None:
    program = captured(name)
    applied = apply_plan(program, planned(program, family, isa))
    inputs = example(name, 6)
    for found, wanted in zip(applied.module(*inputs), program.module(*inputs), strict=True):
        assert (found - wanted).norm() / wanted.norm() < 0.05
    again = exported_program(applied)
    assert set(node_names(applied, again)) <= set(program.paths.values())


def integers(program: Program, plan: QuantPlan, inputs: tuple[Tensor, ...]) -> dict[str, np.ndarray]:
    """Edge -> the integers that the fake-quantized program computes there."""
    nodes = {path: node for path, node in program.nodes.items()}
    found = {}
    for path, value in values(program, inputs).items():
        quant = plan.resolve(f"{path}:out")
        if quant is not None and any(user.target is _quantize for user in nodes[path].users):
            found[f"{path}:out"] = quantize(value.float().numpy(), quant)
    return found


def weights(program: Program, plan: QuantPlan, path: str) -> tuple[np.ndarray, EdgeQuant, np.ndarray]:
    layer = rewrite.planned(program, plan).module.get_submodule(path)
    quant = plan.resolve(f"{path}:weight")
    return quantize(layer.weight.detach().numpy(), quant), quant, layer.bias.detach().numpy()


def test_the_graph_computes_the_integers_of_the_reference() -> None:
    """Convolution with ReLU, convolution, add with ReLU, each fed the graph's own integers; at most one step apart."""
    program = capture(nn.Sequential(tiny("residual"), nn.Conv2d(8, 2, 1)).eval(), example())
    plan = planned(program, "ort")
    inputs = example(batch=3)
    found = integers(apply_plan(program, plan), plan, inputs)
    x = plan.resolve("input:input")
    first, conv, out = (plan.resolve(edge) for edge in ("0.first.act:out", "0.conv:out", "0.relu:out"))
    wanted = {
        "0.first.act:out": reference.conv2d(
            quantize(inputs[0].numpy(), x), x, *weights(program, plan, "0.first.conv"), first, padding=(1, 1)
        ),
        "0.conv:out": reference.conv2d(
            found["0.first.act:out"], first, *weights(program, plan, "0.conv"), conv, padding=(1, 1)
        ),
        "0.relu:out": reference.add(found["0.first.act:out"], first, found["0.conv:out"], conv, out),
    }
    assert set(found) == set(wanted)
    for edge, integer in wanted.items():
        assert np.abs(found[edge] - integer).max() <= 1, edge
        assert (found[edge] == integer).mean() > 0.99, edge


def test_outputs_stay_float_also_where_they_are_read_again() -> None:
    program = captured("two")
    plan = planned(program)
    applied = apply_plan(program, plan)
    inputs = example("two", 4)
    pooled = applied.module(*inputs)[1]
    step = float(plan.resolve("mean:out").scale)
    assert not np.allclose(pooled / step, np.round(pooled / step), atol=1e-3)
    mean = applied.nodes["mean"]
    assert sum(user.target is _quantize for user in mean.users) == 1


class ReadTwice(nn.Module):
    """A value that is an output and feeds two layers: one quantize operator serves both."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.left, self.right = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.conv(x)
        return self.left(y) + self.right(y), y


def test_an_output_with_two_readers_is_quantized_once() -> None:
    program = capture(ReadTwice().eval(), example())
    applied = apply_plan(program, planned(program))
    assert sum(user.target is _quantize for user in applied.nodes["conv"].users) == 1


def test_a_plan_for_another_model_or_another_family_is_refused() -> None:
    plan = planned(captured("linear"))
    with pytest.raises(UsageError, match="derive the plan"):
        apply_plan(captured("residual"), plan)
    with pytest.raises(UsageError, match="u8 affine"):
        apply_plan(captured("linear"), dataclasses.replace(plan, family="tensorrt", instruction_set="cuda"))


def test_edited_numbers_arrive_in_the_graph() -> None:
    """Nothing is calibrated again: a plan with other scales gives a graph with those scales."""
    program = captured("linear")
    plan = planned(program)
    edited = choose(plan.resolve("relu:out").spec, -1, 77)
    applied = apply_plan(program, dataclasses.replace(plan, edges={**plan.edges, "relu:out": edited}))
    operator = next(user for user in applied.nodes["relu"].users if user.target is _quantize)
    assert operator.args[1] == float(edited.scale) and operator.args[2] == int(edited.zero_point)


def test_the_original_program_is_untouched() -> None:
    program = captured("depthwise")
    before = program.module(*example())[0]
    apply_plan(program, planned(program))
    assert torch.equal(before, program.module(*example())[0])
    assert not any(node.target is _quantize for node in program.module.graph.nodes)


def onnx_file(program: Program, path: Path) -> Path:
    exported = torch.onnx.export(exported_program(program), dynamo=True, external_data=False, verbose=False)
    exported.save(str(path))
    return path


class Trunk(nn.Module):
    """A depthwise PReLU block with slopes of -4 to 2.2, a shortcut, a pooled linear head, a dead channel."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.block = nn.Conv2d(3, 4, 3, padding=1), wild(tiny("depthwise"))
        self.block.expand = nn.Conv2d(4, 8, 1, bias=False)
        self.pool, self.head = nn.MaxPool2d(2), nn.Linear(64, 5)
        self.stem.weight.data[1], self.stem.bias.data[1] = 0, 3.0

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.head(self.pool(x + self.block(x)).flatten(1))


@pytest.fixture(scope="module")
def trunk() -> tuple[Program, np.ndarray, np.ndarray]:
    torch.manual_seed(0)
    net = Trunk().eval()
    inputs = torch.randn(32, 3, 8, 8)
    with torch.no_grad():
        return capture(net, example()), inputs.numpy(), net(inputs).numpy()


def cosine(found: np.ndarray, wanted: np.ndarray) -> float:
    return float((found * wanted).sum() / np.linalg.norm(found) / np.linalg.norm(wanted))


def trunk_plan(program: Program, inputs: np.ndarray, family: str) -> QuantPlan:
    return derive(program, observe(program, [(torch.from_numpy(inputs),)]), family, "x86-vnni")


def test_onnxruntime_runs_all_of_it_in_integers(trunk: tuple, tmp_path: Path) -> None:
    program, inputs, wanted = trunk
    file = onnx_file(apply_plan(program, trunk_plan(program, inputs, "ort")), tmp_path / "net.onnx")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.optimized_model_filepath = 1, str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    found = np.concatenate([session.run(None, {session.get_inputs()[0].name: x[None]})[0] for x in inputs])
    assert cosine(found, wanted) > 0.998
    operators = [node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node]
    assert operators.count("QLinearConv") == 6 and operators.count("QLinearAdd") == 3
    assert not {"Conv", "PRelu", "Relu", "Add", "Mul"} & set(operators)


def test_openvino_runs_its_own_plan(trunk: tuple, tmp_path: Path) -> None:
    program, inputs, wanted = trunk
    file = onnx_file(apply_plan(program, trunk_plan(program, inputs, "openvino")), tmp_path / "net.onnx")
    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    model = openvino.Core().compile_model(str(file), "CPU", options)
    found = np.concatenate([model(x[None])[0] for x in inputs])
    assert cosine(found, wanted) > 0.998
    assert {
        operator_precision(op) for op in model.get_runtime_model().get_ops() if layer_type(op) == "Convolution"
    } == {"u8"}


def layer_type(operator: openvino.Node) -> str:
    return operator.get_rt_info()["layerType"].astype(str)


def operator_precision(operator: openvino.Node) -> str:
    return operator.get_rt_info()["runtimePrecision"].astype(str)
