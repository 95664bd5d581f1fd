"""Channels that never move: factor 1, a sane grid, a line in the plan's notes."""

import numpy as np
import pytest
import torch
from torch import nn

from edgesmith.compress.quantize.dead import living_ends
from edgesmith.compress.quantize.observe import observe
from edgesmith.compress.quantize.plan import derive
from edgesmith.graph.capture import Program, capture
from edgesmith.graph.qdq import apply_plan
from edgesmith.quant import QuantPlan


def data(count: int = 32) -> torch.Tensor:
    return torch.randn(count, 3, 6, 6, generator=torch.Generator().manual_seed(3))


def net(dead: tuple[int, ...], depthwise: bool = True) -> Program:
    """Channels in `dead` are 0 behind the first ReLU, whatever the input."""
    torch.manual_seed(0)
    middle = nn.Conv2d(8, 8, 3, groups=8) if depthwise else nn.Conv2d(8, 8, 3)
    module = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), middle, nn.ReLU(), nn.Conv2d(8, 4, 1), nn.Flatten())
    with torch.no_grad():
        for channel in dead:
            module[0].weight[channel] = 0
            module[0].bias[channel] = -1
    return capture(module.eval(), (data(2),))


def plan_of(program: Program) -> QuantPlan:
    return derive(program, observe(program, [(data(),)]), "ort", "x86-vnni")


@pytest.mark.parametrize("depthwise", [True, False])
def test_a_dead_channel_keeps_factor_1_and_is_noted(depthwise: bool) -> None:
    plan = plan_of(net((2, 5), depthwise))
    assert (plan.factors["0"][[2, 5]] == 1).all() and (plan.factors["0"] != 1).any()
    (note,) = (note for note in plan.notes if "never moved" in note)
    assert "1 (2 of 8)" in note


def test_a_net_without_dead_channels_says_nothing() -> None:
    assert not [note for note in plan_of(net(())).notes if "never moved" in note]


def test_a_dead_value_gets_an_ordinary_grid_and_the_biases_behind_it_fit() -> None:
    program = net(tuple(range(8)))
    plan = plan_of(program)
    assert float(plan.resolve("1:out").scale) == pytest.approx(1 / 255)
    assert any("nothing but zero" in note for note in plan.notes)
    bias = plan.resolve("2:bias")
    largest = np.abs(program.module.get_parameter("2.bias").detach().numpy() / np.asarray(bias.scale))
    assert largest.max() < 2**31
    with torch.no_grad():
        exact, quantized = program.module(data())[0], apply_plan(program, plan).module(data())[0]
    torch.testing.assert_close(quantized, exact, atol=0.02, rtol=0.02)


def test_ends_of_living_values_are_left_alone() -> None:
    assert living_ends((-0.5, 0.0)) == (-0.5, 0.0) and living_ends((0.0, 0.0)) == (0.0, 1.0)
