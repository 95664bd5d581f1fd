"""Equalising factors: channels fill their grid, clips stay out of reach, int8 comes nearer to float."""

import numpy as np
import pytest
import torch
from torch import nn

from edgesmith.compress.quantize.equalise import equalising_factors
from edgesmith.compress.quantize.observe import observe
from edgesmith.compress.quantize.plan import derive
from edgesmith.graph.capture import Program, capture
from edgesmith.graph.channels import channel_groups
from edgesmith.graph.qdq import apply_plan
from edgesmith.graph.rewrite import planned, simplify
from edgesmith.quant import EdgeRange


def uneven(activation: nn.Module) -> nn.Module:
    """A pointwise and a depthwise layer between which the channels differ a hundredfold."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 1), activation, nn.Conv2d(8, 8, 3, groups=8), nn.ReLU(), nn.Conv2d(8, 8, 1), nn.Flatten()
    )
    with torch.no_grad():
        spread = torch.logspace(-2, 0, 8).reshape(8, 1, 1, 1)
        net[0].weight.mul_(spread)
        net[0].bias.mul_(spread.flatten())
        net[2].weight.div_(spread)
    return net.eval()


def data(count: int = 64) -> torch.Tensor:
    return torch.randn(count, 3, 6, 6, generator=torch.Generator().manual_seed(3))


def program_of(activation: nn.Module) -> Program:
    return capture(uneven(activation), (data(2),))


def error(program: Program, corrections: tuple[str, ...], family: str = "openvino") -> float:
    plan = derive(program, observe(program, [(data(),)]), family, "x86-vnni", corrections=corrections)
    x = data()
    with torch.no_grad():
        exact, quantized = program.module(x)[0], apply_plan(program, plan).module(x)[0]
    return float((exact - quantized).norm() / exact.norm())


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.PReLU(8), nn.ReLU6()])
@pytest.mark.parametrize("family", ["ort", "openvino"])
def test_equalised_channels_lose_less(activation: nn.Module, family: str) -> None:
    program = program_of(activation)
    assert error(program, ("equalise",), family) < 0.5 * error(program, (), family)


def test_the_plan_stands_for_the_same_function() -> None:
    program = program_of(nn.PReLU(8))
    plan = derive(program, observe(program, [(data(),)]), "ort", "x86-vnni", corrections=("equalise",))
    assert plan.factors
    with torch.no_grad():
        torch.testing.assert_close(planned(program, plan).module(data())[0], program.module(data())[0])


def test_a_depthwise_reader_lets_every_channel_fill_the_grid() -> None:
    folded = simplify(program_of(nn.ReLU()))
    nodes = folded.nodes
    high = np.geomspace(0.01, 1, 8).astype(np.float32)
    ranges = {nodes["1"]: EdgeRange(np.zeros(8, np.float32), high)}
    factors = equalising_factors(folded, channel_groups(folded), ranges)
    np.testing.assert_allclose(factors["0"] * high, 1.0, rtol=1e-5)


def test_a_channel_that_never_moves_is_left_alone() -> None:
    folded = simplify(program_of(nn.ReLU()))
    high = np.array([0.0, 1, 1, 1, 1, 1, 1, 0.5], np.float32)
    ranges = {folded.nodes["1"]: EdgeRange(np.zeros(8, np.float32), high)}
    factors = equalising_factors(folded, channel_groups(folded), ranges)
    np.testing.assert_allclose(factors["0"], [1, 1, 1, 1, 1, 1, 1, 2], rtol=1e-5)


def test_no_value_is_pushed_into_a_clip() -> None:
    folded = simplify(program_of(nn.ReLU6()))
    high = np.array([6.0, 6, 3, 1, 0.5, 0.1, 0.01, 0], np.float32)
    ranges = {folded.nodes["1"]: EdgeRange(np.zeros(8, np.float32), high)}
    factors = equalising_factors(folded, channel_groups(folded), ranges)
    assert (factors["0"] >= 1).all() and (factors["0"] * high <= 6).all() and factors["0"][3] > 2


def test_without_a_quantized_value_nothing_is_scaled() -> None:
    folded = simplify(program_of(nn.ReLU()))
    assert equalising_factors(folded, channel_groups(folded), {}) == {}
