"""The measured bias correction: means come back layer after layer, whatever shifted them."""

from dataclasses import replace

import numpy as np
import torch
from torch import nn

from edgesmith.compress.quantize import bias_pass
from edgesmith.compress.quantize.bias_pass import measured_shifts
from edgesmith.compress.quantize.observe import observe
from edgesmith.compress.quantize.plan import derive
from edgesmith.graph.capture import Program, capture
from edgesmith.graph.qdq import apply_plan
from edgesmith.graph.rewrite import simplify
from edgesmith.quant import QuantPlan


def data(count: int = 96) -> torch.Tensor:
    """Inputs far from mean zero and with a long tail, so that clipped ends shift means too."""
    draw = torch.rand(count, 8, 3, 3, generator=torch.Generator().manual_seed(2))
    return draw + (draw > 0.995) * 4


def net(activation: nn.Module | None = None) -> Program:
    torch.manual_seed(1)
    layers = [nn.Conv2d(8, 8, 1), activation or nn.ReLU(), nn.Conv2d(8, 8, 1, bias=False), nn.Flatten()]
    return capture(nn.Sequential(*layers, nn.Linear(72, 4)).eval(), (data(2),))


def mean_error(program: Program, plan: QuantPlan) -> float:
    with torch.no_grad():
        exact, quantized = program.module(data())[0], apply_plan(program, plan).module(data())[0]
    return float((quantized - exact).mean(0).abs().mean())


def clipped(plan: QuantPlan, edge: str) -> QuantPlan:
    """The plan with the upper half of one value's grid cut off: all its means fall."""
    quant = plan.resolve(edge)
    return replace(plan, edges={**plan.edges, edge: replace(quant, scale=quant.scale / 2)})


def test_means_that_clipping_took_come_back_behind_it() -> None:
    program = net()
    record, folded = observe(program, [(data(),)]), simplify(program)
    plan = clipped(derive(program, record, "openvino", "x86-vnni", corrections=()), "1:out")
    found = measured_shifts(folded, {}, {edge: plan.resolve(edge) for edge in plan.edges}, (data(),))
    assert mean_error(program, replace(plan, bias_shifts=found)) < 0.3 * mean_error(program, plan)


def test_the_parts_of_a_lowered_activation_get_no_bias() -> None:
    program = net(nn.PReLU(8))
    plan = derive(program, observe(program, [(data(),)]), "ort", "x86-vnni", samples=(data(100),))
    assert set(plan.bias_shifts) == {"0", "2", "4"} and "1.scaled:weight" in plan.edges


def test_a_program_of_exact_numbers_needs_no_shift() -> None:
    folded = simplify(net())
    assert measured_shifts(folded, {}, {}, (data(8),)) == {}


def test_a_static_batch_is_corrected_in_closed_form() -> None:
    module = nn.Sequential(nn.Conv2d(8, 8, 1), nn.Flatten(), nn.Linear(72, 4)).eval()
    program = capture(torch.export.export(module, (data(1),)).module(), (data(1),))
    record = observe(program, [(row[None],) for row in data(16)])
    assert not program.batch_is_symbolic
    with_samples, without = (derive(program, record, "ort", "x86-vnni", samples=s) for s in ((data(16),), ()))
    assert with_samples.digest() == without.digest() and with_samples.bias_shifts


def test_large_values_take_fewer_samples(monkeypatch) -> None:
    program, seen = net(), []
    monkeypatch.setattr(bias_pass, "_LARGEST_VALUE", 4 * 72 * 5)
    program.module.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
    folded = simplify(program)
    assert bias_pass._how_many(folded) == 5
    monkeypatch.setattr(bias_pass, "_LARGEST_VALUE", 1)
    assert bias_pass._how_many(folded) == 1


def test_shifts_are_what_the_first_layer_has_lost() -> None:
    program = net()
    plan = derive(program, observe(program, [(data(),)]), "ort", "x86-vnni", corrections=())
    folded, x = simplify(program), data(64)
    found = measured_shifts(folded, {}, {edge: plan.resolve(edge) for edge in plan.edges}, (x,))
    exact, rounded = (first_mean(run, x) for run in (folded, apply_plan(program, plan)))
    np.testing.assert_allclose(found["0"], exact - rounded, atol=1e-5)


def first_mean(program: Program, x: torch.Tensor) -> np.ndarray:
    """Means of the channels that the first layer gives."""
    found: list[np.ndarray] = []

    class Reader(torch.fx.Interpreter):
        def run_node(self, n: torch.fx.Node) -> object:
            value = super().run_node(n)
            if n is program.nodes["0"]:
                found.append(value.mean((0, 2, 3)).numpy())
            return value

    with torch.no_grad():
        Reader(program.module).run(x)
    return found[0]
