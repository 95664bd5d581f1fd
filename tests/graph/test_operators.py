"""Constants of a graph: replacing one leaves its other users alone."""

import torch
from torch import Tensor, nn

from edgesmith.graph.capture import capture, exported_program
from edgesmith.graph.operators import becomes_output, constant, float_inputs, is_add, is_weighted, set_constant
from tests.graph.test_capture import captured, example


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.conv(x)) + 1


def test_a_shared_weight_is_copied_before_it_is_changed() -> None:
    program = capture(Tied(), example())
    module, _, _ = program.copy()
    first, second = (node for node in module.graph.nodes if is_weighted(node))
    old = constant(module, second, 1)
    set_constant(module, first, 1, old * 2, "conv.weight")
    assert torch.equal(constant(module, second, 1), old) and torch.equal(constant(module, first, 1), old * 2)
    assert first.args[1].target == "conv.weight_1"


def test_an_unshared_weight_keeps_its_name() -> None:
    program = captured("conv-bn-relu")
    module, paths, origins = program.copy()
    layer = next(node for node in module.graph.nodes if is_weighted(node))
    set_constant(module, layer, 1, constant(module, layer, 1) * 0, "other")
    changed = program.rewritten(module, paths, origins)
    assert "conv.weight" in exported_program(changed).state_dict
    assert float(constant(changed.module, changed.nodes["conv"], 1).abs().max()) == 0
    assert float(constant(program.module, program.nodes["conv"], 1).abs().max()) > 0


def test_only_sums_of_two_computed_tensors_are_adds() -> None:
    residual, tied = captured("residual"), capture(Tied(), example())
    assert is_add(residual.nodes["add"]) and not is_add(tied.nodes["add"])
    assert [node.name for node in float_inputs(residual.nodes["conv"])] == ["relu"]


def test_an_output_is_seen_through_reshapes() -> None:
    program = capture(nn.Sequential(nn.Conv2d(3, 2, 1), nn.Flatten()), example())
    assert becomes_output(program.nodes["0"])
    assert not becomes_output(captured("residual").nodes["conv"])
