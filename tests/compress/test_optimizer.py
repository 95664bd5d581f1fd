import itertools

import pytest
import torch
from torch import nn

from edgesmith.compress.optimizer import lr_factor, make_optimizer
from edgesmith.errors import UsageError


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_biases_norms_and_slopes_do_not_decay(name) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.PReLU(4))
    groups = make_optimizer(net.parameters(), name, 0.1, 0.9, 0.01).param_groups
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    assert {decay[id(p)] for p in net.parameters() if p.ndim == 1} == {0.0} and decay[id(net[0].weight)] == 0.01


def test_frozen_parameters_stay_out() -> None:
    net = nn.Linear(2, 2)
    net.weight.requires_grad_(False)
    groups = make_optimizer(net.parameters(), "sgd", 0.1, 0.9, 0.0).param_groups
    assert [p for group in groups for p in group["params"]] == [net.bias]
    with pytest.raises(UsageError, match="unfreeze"):
        make_optimizer([net.weight], "sgd", 0.1, 0.9, 0.0)


def test_cosine_starts_at_1_and_ends_near_0_after_warm_up() -> None:
    factors = [lr_factor("cosine", step / 10, 0.1, 4, 1.0) for step in range(40)]
    assert factors[0] == pytest.approx(0.1) and factors[10] == 1.0 == max(factors) and factors[-1] < 0.01
    assert all(a >= b for a, b in itertools.pairwise(factors[10:]))


def test_steps_divide_by_10_and_constant_stays() -> None:
    assert [lr_factor("step", e, 0.1, 9, 0, (3, 6)) for e in (2.9, 3.0, 6.5)] == pytest.approx([1, 0.1, 0.01])
    assert lr_factor("constant", 7, 0.1, 9, 0) == 1.0


def test_unknown_names_are_usage_errors() -> None:
    with pytest.raises(UsageError):
        make_optimizer([torch.nn.Parameter(torch.ones(1))], "lion", 0.1, 0.9, 0.0)
    with pytest.raises(UsageError):
        lr_factor("poly", 0, 0.1, 9, 0)
