"""Trained constants of planned programs as weights of the net again."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from torch import Tensor, nn

from edgesmith.compress.quantize.put_back import check_put_back, check_unshared, left_over, places_of, put_back
from edgesmith.errors import UsageError
from edgesmith.graph.capture import capture
from edgesmith.graph.rewrite import planned as lowered_by
from tests.compress.quantize.test_plan import planned
from tests.graph.test_capture import captured, example
from tests.models import TINY, tiny

FAMILIES = [("ort", "x86-vnni"), ("openvino", "x86-vnni"), ("coreml", "apple")]


def back(net: nn.Module, family: str, isa: str, change: float = 1.0):
    """The net with the constants of its planned program, times `change` those of layers; also the plan's shifts."""
    program = capture(net, example())
    plan = planned(program, family, isa)
    lowered = lowered_by(program, plan)
    places, state = places_of(program, lowered), net.state_dict()
    learned = {name for both in places.layers.values() for name in both}
    constants = {
        name: value * (change if name in learned else 1.0) for name, value in lowered.module.state_dict().items()
    }
    made = copy.deepcopy(net)
    made.load_state_dict(put_back(places, program, lowered, constants, state))
    return made, lowered, left_over(places, constants, state)


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize(("family", "isa"), FAMILIES)
def test_the_net_computes_what_the_planned_program_does(name: str, family: str, isa: str) -> None:
    """Folded, scaled, flipped: PReLU slopes of the tiny nets go up to 1.5."""
    net, inputs = tiny(name), example(batch=5)
    made, lowered, shifts = back(net, family, isa)
    assert not shifts
    torch.testing.assert_close(made(*inputs), lowered.module(*inputs)[0], rtol=1e-4, atol=1e-5)
    changed, _, _ = back(net, family, isa, change=1.1)
    assert not torch.allclose(changed(*inputs), made(*inputs), rtol=1e-3)


class Odd(nn.Module):
    """A batch norm that no layer takes in, one without affine, and a convolution without a place for a bias."""

    def __init__(self) -> None:
        super().__init__()
        self.before = nn.BatchNorm2d(3)
        self.conv = nn.Conv2d(3, 4, 3, bias=False)
        self.bn = nn.BatchNorm2d(4, affine=False)
        self.bare = nn.Conv2d(4, 4, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.bare(torch.relu(self.bn(self.conv(self.before(x)))))


def odd() -> nn.Module:
    torch.manual_seed(2)
    net = Odd()
    for norm in (net.before, net.bn):
        nn.init.uniform_(norm.running_mean, -0.5, 0.5)  # type: ignore[arg-type]
        nn.init.uniform_(norm.running_var, 0.5, 2.0)  # type: ignore[arg-type]
    nn.init.uniform_(net.before.weight, -1.5, 1.5)
    nn.init.uniform_(net.before.bias, -0.5, 0.5)
    return net.eval()


def test_batch_norms_of_every_kind_and_a_bias_without_a_place() -> None:
    net, inputs = odd(), example(batch=5)
    made, lowered, shifts = back(net, "ort", "x86-vnni")
    assert list(shifts) == ["bare"]
    wanted = lowered.module(*inputs)[0] - torch.from_numpy(shifts["bare"]).float().reshape(1, -1, 1, 1)
    torch.testing.assert_close(made(*inputs), wanted, rtol=1e-4, atol=1e-5)


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(torch.relu(self.conv(x)))


def test_shared_weights_are_named() -> None:
    with pytest.raises(UsageError, match=r"conv and conv_1 share conv\.weight"):
        check_unshared(capture(Twice(), example()))
    check_unshared(captured("two"))


def test_weights_that_did_not_come_back_are_an_error() -> None:
    program = captured("linear")
    plan = planned(program)
    lowered = lowered_by(program, plan)
    constants = dict(lowered.module.state_dict())
    plain = dataclasses.replace(plan, factors={}, bias_shifts={})
    with pytest.raises(UsageError, match=r"fc1\.weight of the net is not what was trained"):
        check_put_back(program, plain, {**constants, "fc1.weight": constants["fc1.weight"] + 1}, ["fc1.weight"])
