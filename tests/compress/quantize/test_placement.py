"""Where a family wants its quantize operators."""

import pytest
import torch
from torch import Tensor, nn

from edgesmith.compress.quantize.placement import Placement, kept_layers, owner, place
from edgesmith.errors import UsageError
from edgesmith.graph.capture import Program, capture
from edgesmith.graph.qdq import apply_plan
from edgesmith.graph.rewrite import simplify
from edgesmith.targets import rules_of
from tests.compress.quantize.test_plan import planned
from tests.graph.test_activations import all_as, depthwise_net
from tests.graph.test_capture import captured, example


def names(program: Program, placement: Placement) -> list[str]:
    edges = {node: edge for edge, node in program.edges()}
    return [edges[node] for node in placement.values]


def placed(program: Program, family: str = "ort", **rewrites: str) -> Placement:
    return place(program, rules_of(family), rewrites, ())


def test_inputs_and_units_are_quantized_and_outputs_stay_float() -> None:
    program = simplify(captured("residual"))
    found = placed(program)
    assert names(program, found) == ["input:x", "first.act:out", "conv:out"]
    assert [program.paths[node.name] for node in found.layers] == ["first.conv", "conv", "add"]
    assert [program.paths[node.name] for node in found.tails] == ["first.act", "conv", "relu"]


def test_onnxruntime_wants_the_convolution_quantized_before_a_prelu_and_openvino_does_not() -> None:
    rewrites = {"expand_act": "depthwise", "depthwise_act": "depthwise"}
    program = all_as(depthwise_net(), "depthwise")
    found = names(program, placed(program, "ort", **rewrites))
    assert {"expand:out", "expand_act.relu:out", "expand_act:out"} <= set(found)
    assert "expand_act.scaled:out" not in found  # fused with its ReLU
    program = all_as(depthwise_net(), "max")
    found = names(program, placed(program, "openvino", **dict.fromkeys(rewrites, "max")))
    assert found == ["input:x", "expand_act:out", "depthwise_act:out"]
    program = depthwise_net()
    assert names(program, placed(program, "tensorrt")) == found


@pytest.mark.parametrize(("family", "before"), [("ort", True), ("openvino", False)])
def test_other_activations_are_fused_where_the_family_can(family: str, before: bool) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.SiLU(), nn.Conv2d(4, 4, 1))
    program = capture(net.eval(), example())
    assert ("0:out" in names(program, placed(program, family))) == before


class Moves(nn.Module):
    """Two branches of a concat, pooled, flattened into a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.fc = nn.Conv2d(3, 2, 1), nn.Conv2d(3, 2, 1), nn.Linear(64, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.cat([self.left(x).relu(), self.right(x)], 1)
        return self.fc(torch.flatten(nn.functional.max_pool2d(y, 2), 1))


def test_what_moves_values_shares_numbers() -> None:
    program = capture(Moves().eval(), example())
    found = placed(program)
    edges = {node: edge for edge, node in program.edges()}
    shared = {edges[node]: edges[first] for node, first in found.same.items()}
    assert shared == dict.fromkeys(("right:out", "cat:out", "max_pool2d:out", "flatten:out"), "relu:out")
    assert [program.paths[node.name] for node in found.movers] == ["cat", "max_pool2d", "flatten"]


def test_a_mean_has_numbers_of_its_own() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    program = capture(net.eval(), example())
    found = placed(program)
    assert [program.paths[node.name] for node in found.same] == ["2"]
    assert {"0:out", "1:out"} <= set(names(program, found))


def test_layers_kept_in_float_ask_for_nothing() -> None:
    program = simplify(captured("residual"))
    found = place(program, rules_of("ort"), {}, {"conv", "add"})
    assert names(program, found) == ["input:x", "first.act:out"]


def test_a_reshaped_last_layer_is_still_the_output() -> None:
    program = capture(nn.Sequential(nn.Conv2d(3, 4, 8), nn.Flatten()).eval(), example())
    assert names(program, placed(program)) == ["input:input"]


def test_a_module_keeps_all_of_its_layers_in_float() -> None:
    program = captured("residual")
    assert kept_layers(program, ["first"]) == {"first.conv", "first.bn", "first.act"}
    plan = planned(program, keep_float=["first"])
    assert plan.precision["first.conv"] == "fp32" and plan.precision["conv"] == "int8"
    with pytest.raises(UsageError, match="never ran"):
        kept_layers(program, ["firs"])


def test_a_lowered_activation_is_kept_in_float_as_a_whole() -> None:
    program = captured("depthwise")
    assert owner("expand_act.scaled", {"expand_act": "depthwise"}) == "expand_act"
    assert owner("expand_act2", {"expand_act": "depthwise"}) == "expand_act2"
    plan = planned(program, keep_float=["expand_act"])
    assert plan.precision["expand_act"] == plan.precision["expand_act.scaled"] == "fp32"
    assert "expand_act.scaled:weight" not in plan.edges and "depthwise_act.scaled:weight" in plan.edges


@pytest.mark.parametrize("name", ["conv-bn-relu", "depthwise", "two"])
def test_everything_in_float_is_the_original(name: str) -> None:
    program = captured(name)
    plan = planned(program, keep_float=list(program.nodes))
    assert set(plan.precision.values()) == {"fp32"} and not plan.edges
    for found, wanted in zip(apply_plan(program, plan).module(*program.example), program.module(*program.example)):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


class Shared(nn.Module):
    """One convolution called twice, and two linear layers with one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.twice = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.left, self.right = nn.Linear(8, 4), nn.Linear(8, 4)
        self.right.weight = self.left.weight

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.twice(torch.relu(self.twice(torch.relu(self.stem(x)))))).mean((2, 3))
        return self.left(y) + self.right(torch.relu(y))


@pytest.mark.parametrize("kept", [[], ["twice"], ["twice_1", "right"]])
@pytest.mark.parametrize("family", ["ort", "openvino"])
def test_shared_weights_get_a_grid_for_each_use(family: str, kept: list[str]) -> None:
    torch.manual_seed(0)
    net = Shared().eval()
    with torch.no_grad():  # a channel of nearly no weight needs room for its bias, by the scale of each input
        net.twice.weight[0], net.twice.bias[0] = 1e-9, 3.0
    program = capture(net, (torch.randn(1, 3, 8, 8),))
    plan = planned(program, family, keep_float=kept)
    uses = {"stem", "twice", "twice_1", "left", "right"}
    assert {edge.removesuffix(":weight") for edge in plan.edges if edge.endswith(":weight")} == uses - set(kept)
    x = torch.randn(16, 3, 8, 8)
    wanted, found = net(x), apply_plan(program, plan).module(x)[0]
    assert float((found - wanted).norm() / wanted.norm()) < 0.02


class Block(nn.Module):
    """Two steps of a transformer without its attention: a sum that layer norms and the next sum read."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(8) for _ in range(3))
        self.steps = nn.ModuleList(nn.Linear(8, 8) for _ in range(2))
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, 0]
        for norm, step in zip(self.norms, self.steps):
            x = x + step(norm(x))
        return self.head(self.norms[2](x))


@pytest.mark.parametrize("family", ["ort", "openvino"])
def test_the_sum_that_a_transformer_carries_stays_float(family: str) -> None:
    program = simplify(capture(Block().eval(), example()))
    found = placed(program, family)
    assert [program.paths[node.name] for node in found.layers] == ["steps.0", "steps.1", "head"]
    assert not any("add" in name for name in names(program, found))


def test_a_sum_that_a_convolution_reads_beside_a_norm_is_quantized() -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.norm = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1), nn.LayerNorm(8)

        def forward(self, x: Tensor) -> Tensor:
            total = x + self.one(x)
            return self.two(total) + self.norm(total)

    program = simplify(capture(Mixed().eval(), example()))
    assert [program.paths[node.name] for node in placed(program).layers] == ["one", "add", "two", "add_1"]
