import itertools

import pytest
import torch
from torch import nn

from edgesmith.compress.optimizer import OptimizerChoice, learning_rate, lr_factor, make_optimizer, moved_state
from edgesmith.errors import UsageError


@pytest.mark.parametrize("name", ["sgd", "adamw", "adam"])
def test_biases_norms_and_slopes_do_not_decay(name) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.PReLU(4))
    groups = make_optimizer(net.parameters(), OptimizerChoice(name, weight_decay=0.01)).param_groups
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    assert {decay[id(p)] for p in net.parameters() if p.ndim == 1} == {0.0} and decay[id(net[0].weight)] == 0.01


def test_frozen_parameters_stay_out() -> None:
    net = nn.Linear(2, 2)
    net.weight.requires_grad_(False)
    groups = make_optimizer(net.parameters(), OptimizerChoice()).param_groups
    assert [p for group in groups for p in group["params"]] == [net.bias]
    with pytest.raises(UsageError, match="unfreeze"):
        make_optimizer([net.weight], OptimizerChoice())


def test_cosine_starts_at_1_and_ends_near_0_after_warm_up() -> None:
    factors = [lr_factor("cosine", step / 10, 0.1, 4, 1.0) for step in range(40)]
    assert factors[0] == pytest.approx(0.1) and factors[10] == 1.0 == max(factors) and factors[-1] < 0.01
    assert all(a >= b for a, b in itertools.pairwise(factors[10:]))


def test_steps_divide_by_10_and_constant_stays() -> None:
    assert [lr_factor("step", e, 0.1, 9, 0, (3, 6)) for e in (2.9, 3.0, 6.5)] == pytest.approx([1, 0.1, 0.01])
    assert lr_factor("constant", 7, 0.1, 9, 0) == 1.0


def test_unknown_names_are_usage_errors() -> None:
    with pytest.raises(UsageError):
        make_optimizer([torch.nn.Parameter(torch.ones(1))], OptimizerChoice("lion"))
    with pytest.raises(UsageError):
        lr_factor("poly", 0, 0.1, 9, 0)


def test_a_cosine_ends_at_the_least_rate_and_warms_up_from_zero() -> None:
    choice = OptimizerChoice(lr=0.1, schedule="cosine", min_lr=0.02, warmup_epochs=1.0)
    rates = [learning_rate(choice, step / 10, 0.1, 4) for step in range(41)]
    assert rates[0] == pytest.approx(0.01) and rates[10] == pytest.approx(0.1) and rates[40] == pytest.approx(0.02)
    assert min(rates[10:]) == rates[40] and rates[25] == pytest.approx(0.06)


@pytest.mark.parametrize("wrong", [{"lr": 0.0}, {"min_lr": 0.2}, {"min_lr": -0.1}, {"clip": 0.0}])
def test_a_choice_that_makes_no_sense_is_a_usage_error(wrong) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        OptimizerChoice(**{"lr": 0.1, **wrong})


def test_vectors_decay_when_asked_as_architecture_parameters_do() -> None:
    alpha = nn.Parameter(torch.zeros(8))
    group = make_optimizer([alpha], OptimizerChoice("adam", 3e-4, betas=(0.5, 0.999), weight_decay=1e-3)).param_groups[
        0
    ]
    assert group["weight_decay"] == 0.0 and group["betas"] == (0.5, 0.999)
    choice = OptimizerChoice("adam", 3e-4, weight_decay=1e-3, decay_vectors=True)
    assert make_optimizer([alpha], choice).param_groups[0]["weight_decay"] == 1e-3


def test_the_state_of_what_stays_is_kept_and_that_of_what_goes_is_dropped() -> None:
    kept, gone = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2, 2))
    before = make_optimizer([gone, kept], OptimizerChoice())
    (kept.sum() * 3 + gone.sum()).backward()
    before.step()
    after = make_optimizer([kept], OptimizerChoice())
    moved_state(before, after)
    assert list(after.state) == [kept] and torch.equal(after.state[kept]["momentum_buffer"], torch.full((2, 2), 3.0))
