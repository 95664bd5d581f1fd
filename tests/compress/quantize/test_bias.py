"""Bias correction: the mean of a layer's output is what it was in float."""

import numpy as np
import torch
from torch import nn

from edgesmith.compress.quantize.observe import observe
from edgesmith.compress.quantize.plan import derive
from edgesmith.graph.capture import Program, capture
from edgesmith.graph.qdq import apply_plan


def program_of(groups: int = 1, bias: bool = True) -> Program:
    torch.manual_seed(1)
    net = nn.Sequential(nn.Conv2d(8, 8, 1, groups=groups, bias=bias), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 9, 4))
    return capture(net.eval(), (data(2),))


def data(count: int = 256) -> torch.Tensor:
    """Inputs far from mean zero, as behind a ReLU: rounding of weights then shifts the output."""
    return torch.rand(count, 8, 3, 3, generator=torch.Generator().manual_seed(2)) + 1


def shift(program: Program, corrections: tuple[str, ...]) -> np.ndarray:
    """Mean error of each output."""
    plan = derive(program, observe(program, [(data(),)]), "openvino", "x86-vnni", corrections=corrections)
    assert bool(plan.bias_shifts) == ("bias" in corrections)
    with torch.no_grad():
        exact, quantized = program.module(data())[0], apply_plan(program, plan).module(data())[0]
    return (quantized - exact).mean(0).abs().numpy()


def test_the_mean_of_the_output_comes_back() -> None:
    for program in (program_of(), program_of(groups=4), program_of(bias=False)):
        assert shift(program, ("bias",)).mean() < 0.5 * shift(program, ()).mean()


def test_the_shift_is_the_rounding_of_the_weights_times_the_mean_input() -> None:
    program = program_of()
    record = observe(program, [(data(),)])
    plan = derive(program, record, "openvino", "x86-vnni", corrections=("bias",))
    weight = program.module.get_parameter("0.weight").detach().double().numpy()[:, :, 0, 0]
    scale = np.asarray(plan.resolve("0:weight").scale, np.float64)[:, None]
    rounded = np.clip(np.rint(weight / scale), -127, 127) * scale
    wanted = (weight - rounded) @ record.edges["input:" + program.inputs[0].name].mean
    np.testing.assert_allclose(plan.bias_shifts["0"], wanted, rtol=1e-3, atol=1e-7)
