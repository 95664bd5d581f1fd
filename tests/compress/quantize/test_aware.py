"""The beginning and the end of quantization-aware training, without a task."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from edgesmith.compress.quantize.aware import Aware, begin
from edgesmith.errors import UsageError
from edgesmith.graph.capture import capture
from edgesmith.graph.qdq import apply_plan
from edgesmith.quant import EdgeQuant, choose
from edgesmith.targets import check_plan
from tests.models import TINY, tiny

X = torch.randn(32, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def begun(net: nn.Module, family: str = "ort", isa: str = "x86-vnni", student: nn.Module | None = None) -> Aware:
    return begin(net, (student or net).state_dict(), (X,), ("image",), family, isa)


def trained(net: nn.Module, aware: Aware, steps: int = 3) -> nn.Module:
    """Some steps towards smaller answers, and the net with the weights of the end."""
    optimizer = torch.optim.SGD([p for p in aware.student.parameters() if p.requires_grad], lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        aware.student(X).square().mean().backward()
        optimizer.step()
    made = copy.deepcopy(net)
    made.load_state_dict({**made.state_dict(), **aware.weights()})
    return made


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize(("family", "isa"), [("ort", "x86-vnni"), ("openvino", "x86"), ("tensorrt", "cuda")])
def test_the_plan_of_the_end_on_the_net_of_the_end_is_what_was_trained(name: str, family: str, isa: str) -> None:
    net = tiny(name)
    aware = begun(net, family, isa)
    made = trained(net, aware)
    plan = aware.final_plan(made)
    check_plan(plan)
    assert not plan.factors and plan.digest() != aware.plan.digest()
    exported = apply_plan(capture(made, (X[:2],), ("image",)), plan)
    torch.testing.assert_close(exported.module(X)[0], aware.student(X), rtol=1e-4, atol=1e-5)


def test_slopes_of_prelus_and_frozen_weights_do_not_learn() -> None:
    net = tiny("depthwise")
    net.expand.weight.requires_grad_(False)  # type: ignore[union-attr]
    aware = begun(net, "coreml", "apple")
    before = aware.student.net.constants()
    trained(net, aware)
    after = aware.student.net.constants()
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed == {"depthwise.weight", "depthwise.bias", "project.weight", "project.bias"}


def test_a_layer_that_is_made_anew_keeps_its_weights_and_gets_a_range_for_those_of_the_end() -> None:
    """As the head of a net that deploys class centres: it is not the student's."""
    student, net = tiny("linear"), tiny("linear")
    with torch.no_grad():
        net.fc2.weight.mul_(2)  # type: ignore[operator,union-attr]
    aware = begun(net, student=student)
    assert aware.derived == {"fc2"} and not any(name.startswith("fc2") for name in aware.own & {"fc2.weight"})
    made = trained(net, aware)
    assert torch.equal(made.fc2.weight, net.fc2.weight)  # type: ignore[arg-type,union-attr]
    with torch.no_grad():
        made.fc2.weight.mul_(3)  # type: ignore[operator,union-attr]
    quant = aware.final_plan(made).edges["fc2:weight"]
    assert isinstance(quant, EdgeQuant)
    rows = made.fc2.weight.detach().numpy()  # type: ignore[operator,union-attr]
    np.testing.assert_allclose(quant.scale, choose(quant.spec, rows.min(1), rows.max(1)).scale, rtol=1e-6)


def test_a_net_that_is_not_made_of_the_student_is_refused() -> None:
    student = nn.Sequential(tiny("linear"))
    with pytest.raises(UsageError, match="other weights than its student"):
        begun(tiny("linear"), student=student)


def test_a_channel_of_small_weights_keeps_room_for_its_bias() -> None:
    net = tiny("linear")
    with torch.no_grad():
        net.fc1.weight[0] = 1e-12  # type: ignore[index,union-attr]
        net.fc1.bias[0] = 50.0  # type: ignore[index,union-attr]
    aware = begun(net)
    made = trained(net, aware, steps=0)
    plan, bias = aware.final_plan(made), float(made.fc1.bias[0])  # type: ignore[index,union-attr,arg-type]
    weight, x = plan.resolve("fc1:weight"), plan.resolve("flatten:out")
    assert weight is not None and x is not None
    assert 2 < bias < 1.001 * 2**30 * float(weight.scale[0]) * float(x.scale)
