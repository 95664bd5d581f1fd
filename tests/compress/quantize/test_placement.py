"""Where a family wants its quantize operators."""

import pytest
import torch
from torch import Tensor, nn

from edgesmith.compress.quantize.placement import Placement, place
from edgesmith.graph.capture import Program, capture
from edgesmith.graph.rewrite import simplify
from edgesmith.targets import rules_of
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
