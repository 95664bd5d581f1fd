"""Simulated layers against the program that carries the plan."""

import pytest
import torch
from torch import Tensor

from edgesmith.compress.quantize.simulate import Simulation
from edgesmith.graph.program import Program
from edgesmith.graph.qdq import apply_plan
from edgesmith.quant import QuantPlan
from tests.compress.quantize.test_plan import planned
from tests.graph.test_capture import captured, example
from tests.models import TINY


def sqnr_db(original: Tensor, found: Tensor) -> float:
    noise = (original - found).square().sum().clamp(min=1e-30)
    return float(10 * torch.log10(original.square().sum() / noise))


def simulated(name: str, family: str) -> tuple[Program, QuantPlan, Simulation]:
    program = captured(name)
    plan = planned(program, family)
    return program, plan, Simulation(program, plan)


@pytest.mark.parametrize("family", ["ort", "openvino"])
@pytest.mark.parametrize("name", [*TINY, "two"])
def test_all_layers_in_integers_are_the_plan_s_program(name: str, family: str) -> None:
    program, plan, simulation = simulated(name, family)
    inputs = example(name, 16)
    with torch.no_grad():
        values = simulation.values(inputs)
        found = simulation.run(values, simulation.layers).outputs
        wanted = apply_plan(program, plan).module(*inputs)
        floats = program.module(*inputs)
    for ours, theirs, original, untouched in zip(found, wanted, floats, simulation.outputs(values), strict=True):
        assert sqnr_db(theirs, ours) > 100  # roundings aside the same; the plan itself makes some 40 dB
        assert sqnr_db(original, theirs) < 80
        torch.testing.assert_close(untouched, original, rtol=1e-4, atol=1e-5)


def test_no_layer_in_integers_is_the_float_net() -> None:
    program, _, simulation = simulated("depthwise", "ort")
    inputs = example("depthwise", 4)
    with torch.no_grad():
        values = simulation.values(inputs)
        for found, wanted in zip(simulation.run(values, ()).outputs, program.module(*inputs), strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_one_layer_changes_what_lies_behind_it_and_nothing_else() -> None:
    _, _, simulation = simulated("concat", "ort")
    with torch.no_grad():
        values = simulation.values(example(batch=4))
        floats = simulation.outputs(values)[0]
        found = simulation.run(values, ["left"]).outputs[0]
    assert torch.equal(found[:, 4:], floats[:, 4:])
    assert not torch.equal(found[:, :4], floats[:, :4])


def test_parts_of_a_lowered_activation_are_one_layer_of_the_original() -> None:
    _, plan, simulation = simulated("depthwise", "ort")
    assert plan.rewrites["expand_act"] == "depthwise"
    assert simulation.layers == ("expand", "expand_act", "depthwise", "depthwise_act", "project")
