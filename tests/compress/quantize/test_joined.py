"""Shared steps: additions that round nothing, where that pays."""

import numpy as np
import pytest
import torch
from torch import nn

from edgesmith.compress.quantize.joined import shared_steps, widened
from edgesmith.compress.quantize.observe import observe
from edgesmith.compress.quantize.plan import derive
from edgesmith.graph.capture import Program, capture
from edgesmith.graph.operators import is_add
from edgesmith.graph.qdq import apply_plan
from edgesmith.graph.rewrite import simplify
from edgesmith.quant import S8_SYMMETRIC, U8_AFFINE, QuantPlan, choose, dequantize, quantize
from tests.graph.test_capture import captured


def data(count: int = 32) -> torch.Tensor:
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(3))


class Trunk(nn.Module):
    """Three residual blocks whose sums grow little."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 1)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Conv2d(8, 8, 1), nn.ReLU(), nn.Conv2d(8, 8, 1)) for _ in range(3))
        self.head = nn.Conv2d(8, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x)
        return self.head(x).flatten(1)


def prelu_net() -> Program:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 1), nn.PReLU(8), nn.Conv2d(8, 4, 1))
    net[1].weight.data = torch.linspace(-0.6, 0.6, 8)
    return capture(net.eval(), (data(2),))


def trunk_net() -> Program:
    torch.manual_seed(0)
    return capture(Trunk().eval(), (data(2),))


def plan_of(program: Program, corrections: tuple[str, ...], family: str = "ort") -> QuantPlan:
    return derive(program, observe(program, [(data(),)]), family, "x86-vnni", corrections=corrections)


def error(program: Program, plan: QuantPlan) -> float:
    with torch.no_grad():
        exact, quantized = program.module(data())[0], apply_plan(program, plan).module(data())[0]
    return float((exact - quantized).norm() / exact.norm())


def test_the_three_values_of_a_prelu_share_one_step_and_their_sum_rounds_nothing() -> None:
    plan = plan_of(prelu_net(), ("join",))
    z, bend, last = (plan.resolve(edge) for edge in ("0:out", "1.relu:out", "1:out"))
    assert z.scale == bend.scale == last.scale
    numbers = dequantize(np.arange(256), z)[:, None] + dequantize(np.arange(20), bend)[None]
    inside = (numbers > dequantize(np.array([0]), last)) & (numbers < dequantize(np.array([255]), last))
    np.testing.assert_allclose(dequantize(quantize(numbers, last), last)[inside], numbers[inside], atol=1e-5)


@pytest.mark.parametrize("make", [prelu_net, trunk_net])
def test_joined_grids_lose_less(make) -> None:
    program = make()
    assert error(program, plan_of(program, ("join",))) < error(program, plan_of(program, ()))


def test_sums_that_grow_little_share_the_step_of_a_run() -> None:
    plan = plan_of(trunk_net(), ("join",))
    steps = {edge: float(plan.resolve(edge).scale) for edge in plan.edges if edge.endswith(":out")}
    apart = {edge: float(plan_of(trunk_net(), ()).resolve(edge).scale) for edge in steps}
    shared = [edge for edge in steps if list(steps.values()).count(steps[edge]) > 1]
    assert len(shared) >= 3 and all(steps[edge] >= apart[edge] * (1 - 1e-6) for edge in steps)


def test_a_runtime_that_adds_before_it_rounds_keeps_its_grids() -> None:
    program = trunk_net()
    with_join, without = (plan_of(program, c, "openvino") for c in (("join",), ()))
    assert with_join.digest() == without.digest()


def test_grids_that_differ_too_much_stay_apart() -> None:
    folded = simplify(captured("residual"))
    add = next(node for node in folded.nodes.values() if is_add(node))
    small, large = (-0.01, 0.01), (-10.0, 10.0)
    first, second = add.all_input_nodes
    far = {first: small, second: large, add: large}
    near = {first: (-9.0, 9.0), second: large, add: large}
    assert not {first} & set(shared_steps(folded, {}, {first: small, second: small, add: large}, (), U8_AFFINE))
    assert set(shared_steps(folded, {}, near, (), U8_AFFINE)) == {first, second, add}
    assert set(shared_steps(folded, {}, far, {add}, U8_AFFINE)) == set()


def test_widened_grids_hold_what_they_held() -> None:
    for spec in (U8_AFFINE, S8_SYMMETRIC):
        low, high = widened((-1.0, 2.0), 8.0, spec)
        quant = choose(spec, low, high)
        assert low <= -1 and high >= 2
        assert float(quant.scale) == pytest.approx(8 / (255 if spec is U8_AFFINE else 254), rel=1e-6)
