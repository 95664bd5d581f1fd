"""Layers taken out of a learned plan: placed as a new plan would be, with the numbers that were learned."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgesmith.compress.quantize.aware import begin
from edgesmith.compress.quantize.corrections import CORRECTIONS
from edgesmith.compress.quantize.observe import observe
from edgesmith.compress.quantize.plan import derive
from edgesmith.compress.quantize.simulate import Simulation
from edgesmith.compress.quantize.take_out import take_out
from edgesmith.errors import UsageError
from edgesmith.graph.capture import capture
from edgesmith.graph.program import Program
from edgesmith.graph.rewrite import fold_batchnorm
from edgesmith.quant import BiasOf, EdgeQuant, QuantPlan, RangeRecord, SameAs
from edgesmith.targets import check_plan
from tests.models import TINY, tiny

SETS = {"ort": "x86-vnni", "openvino": "x86-vnni", "coreml": "apple"}
SAMPLES = torch.randn(16, 3, 8, 8, generator=torch.Generator().manual_seed(1))


class TwoBranches(nn.Module):
    """An addition that takes the later of two convolutions into itself, where the family fuses sums."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.left, self.right, self.last = nn.Conv2d(3, 8, 1), nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.left(x) + self.right(x)))


def learned(net: nn.Module, family: str) -> tuple[Program, RangeRecord, QuantPlan]:
    """A program, its calibration, and a plan whose every number is 3 % off what calibration would choose."""
    program = capture(net, {"x": SAMPLES[:1]})
    ranges = observe(fold_batchnorm(program), [(SAMPLES,)])
    plan = derive(program, ranges, family, SETS[family], corrections=CORRECTIONS[1:])
    edges = {
        edge: replace(how, scale=np.asarray(how.scale) * np.float32(1.03)) if isinstance(how, EdgeQuant) else how
        for edge, how in plan.edges.items()
    }
    return program, ranges, replace(plan, edges=edges)


def same(one: EdgeQuant | SameAs | BiasOf, other: EdgeQuant | SameAs | BiasOf) -> bool:
    if isinstance(one, EdgeQuant) and isinstance(other, EdgeQuant):
        return np.array_equal(one.scale, other.scale) and np.array_equal(one.zero_point, other.zero_point)
    return one == other


@pytest.mark.parametrize("family", SETS)
@pytest.mark.parametrize("name", [*TINY, "branches"])
def test_every_layer_can_be_taken_out_and_the_rest_stays(name: str, family: str) -> None:
    program, ranges, plan = learned(TwoBranches() if name == "branches" else tiny(name), family)
    whole = take_out(program, plan, (), ranges)
    assert whole.edges.keys() == plan.edges.keys() and all(same(plan.edges[e], how) for e, how in whole.edges.items())
    assert whole.precision == plan.precision
    for layer in [edge.removesuffix(":weight") for edge in plan.edges if edge.endswith(":weight")]:
        if layer not in program.nodes:
            continue  # a part of a lowered activation goes with the activation
        made = take_out(program, plan, (layer,), ranges)
        fresh = derive(program, ranges, family, SETS[family], (layer,), CORRECTIONS[1:])
        assert made.edges.keys() == fresh.edges.keys() and made.precision == fresh.precision
        assert f"{layer}:weight" not in made.edges and made.precision[layer] == "fp32"
        for edge in made.edges.keys() & plan.edges.keys():
            before, after = plan.resolve(edge), made.resolve(edge)
            assert before is not None and after is not None and same(before, after), edge
        check_plan(made)


def test_an_addition_whose_convolution_leaves_gets_numbers_for_what_it_reads() -> None:
    program, ranges, plan = learned(TwoBranches(), "openvino")
    made = take_out(program, plan, ("right",), ranges)
    (new,) = made.edges.keys() - plan.edges.keys()
    calibrated = derive(program, ranges, "openvino", SETS["openvino"], ("right",), CORRECTIONS[1:]).resolve(new)
    found = made.resolve(new)
    assert new == "right:out" and found is not None and calibrated is not None
    assert float(found.scale) == pytest.approx(float(calibrated.scale), rel=0.05)


def test_a_ruined_layer_taken_out_heals_a_trained_plan() -> None:
    net = tiny("residual")
    aware = begin(net, net.state_dict(), (SAMPLES,), ("x",), "ort", SETS["ort"])
    net.load_state_dict({**net.state_dict(), **aware.weights()})
    final, edge = aware.final_plan(net), "conv:weight"
    program = capture(net, {"x": SAMPLES[:1]})
    ranges = observe(fold_batchnorm(program), [(SAMPLES,)])
    weight = final.edges[edge]
    assert isinstance(weight, EdgeQuant)
    ruined = replace(final, edges={**final.edges, edge: replace(weight, scale=100 * weight.scale)})

    def noise(plan: QuantPlan) -> float:
        simulation = Simulation(program, plan)
        with torch.no_grad():
            values = simulation.values((SAMPLES,))
            wanted, given = simulation.outputs(values)[0], simulation.run(values, simulation.layers).outputs[0]
        return float((wanted - given).square().mean() / wanted.square().mean())

    healed = take_out(program, ruined, ("conv",), ranges)
    assert noise(healed) < 1e-3 < 0.01 < noise(ruined)
    first = final.resolve("first.conv:weight")
    assert first is not None and same(first, healed.edges["first.conv:weight"])


def test_rounding_that_was_learned_stays_for_the_other_layers() -> None:
    program, ranges, plan = learned(tiny("linear"), "ort")
    plan = replace(plan, rounded_up={"fc1": np.zeros(384, np.uint8), "fc2": np.zeros(10, np.uint8)})
    assert set(take_out(program, plan, ("fc1",), ranges).rounded_up) == {"fc2"}


def test_plans_of_other_models_and_unknown_layers_are_refused() -> None:
    program, ranges, plan = learned(tiny("linear"), "ort")
    with pytest.raises(UsageError, match="no such layer"):
        take_out(program, plan, ("fc9",), ranges)
    with pytest.raises(UsageError, match="derived from model"):
        take_out(program, replace(plan, program="another"), ("fc1",), ranges)
