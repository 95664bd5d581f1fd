"""The moving average of the weights, by itself and in the loop."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from edgesmith.compress.checkpoint import NAME
from edgesmith.compress.ema import Average
from edgesmith.compress.fit import fit
from edgesmith.compress.task import Plain
from edgesmith.errors import UsageError
from tests.compress.test_fit import CONFIG, Dropping, images, same
from tests.compress.test_phases import Search, Stop, numbers, stop_after
from tests.compress.training import PREPROCESSING


def test_the_average_follows_the_formula_and_buffers_are_the_nets_own() -> None:
    net = nn.Sequential(nn.Linear(2, 1, bias=False), nn.BatchNorm1d(1, affine=False))
    net[0].weight.data.fill_(1.0)
    average = Average(net, 0.25)
    for value in (3.0, 5.0):
        net[0].weight.data.fill_(value)
        average.update()
    net[1].running_mean.fill_(9.0)
    first = 1 + (1 - 2 / 11) * (3 - 1)  # after step 1 the decay is 2/11, after step 2 the 0.25 asked for
    with average.applied():
        assert net[0].weight.flatten().tolist() == pytest.approx([first + 0.75 * (5 - first)] * 2)
        assert net[1].running_mean.item() == 9.0
    assert net[0].weight.flatten().tolist() == [5.0, 5.0]


def test_weights_come_back_after_an_error_and_frozen_ones_are_left_alone() -> None:
    net = nn.Linear(2, 2)
    net.bias.requires_grad_(False)
    average = Average(net, 0.9)
    net.weight.data.add_(1.0)
    weight = net.weight.clone()
    with pytest.raises(ZeroDivisionError), average.applied():
        assert not torch.equal(net.weight, weight) and set(average.values) == {"weight"}
        raise ZeroDivisionError
    assert torch.equal(net.weight, weight)


class Watching(Plain):
    """A task that looks at its average while it learns."""

    def use_average(self, average: Average) -> None:
        self.average, self.gaps = average, []

    def epoch_end(self, epoch: int) -> None:
        weight = self.student.net.head.weight.detach().clone()
        with self.average.applied():
            self.gaps.append(float((self.student.net.head.weight - weight).abs().max()))


def test_the_task_may_look_at_the_average_and_has_it_in_the_end(tmp_path) -> None:
    task, plain = Watching(Dropping()), Plain(Dropping())
    fit(task, images(), PREPROCESSING, replace(CONFIG, ema=0.9), tmp_path / "ema")
    fit(plain, images(), PREPROCESSING, CONFIG, tmp_path / "plain")
    assert len(task.gaps) == 3 and min(task.gaps) > 0
    raw = torch.load(tmp_path / "ema" / NAME, weights_only=True)
    assert all(torch.equal(value, raw["task"][name]) for name, value in plain.state_dict().items())
    deployed = task.deployable().state_dict()
    for name, value in raw["average"]["values"].items():
        assert torch.equal(deployed[name.removeprefix("student.")], value) and not torch.equal(value, raw["task"][name])
    statistics = [name for name in deployed if "running" in name]
    assert statistics and all(torch.equal(deployed[name], raw["task"][f"student.{name}"]) for name in statistics)


@pytest.mark.parametrize("make", [lambda: Plain(Dropping()), lambda: Search(4)], ids=["plain", "pruned"])
def test_a_resumed_training_ends_with_the_same_average(tmp_path, make) -> None:
    config, data = replace(CONFIG, ema=0.8, epochs=4), (images(), PREPROCESSING)
    whole, first, second = make(), make(), make()
    if isinstance(whole, Search):
        config, data = replace(config, augment="none", batch=4), (numbers(), None)
    fit(whole, *data, config, tmp_path / "whole")
    with pytest.raises(Stop):
        fit(first, *data, config, tmp_path / "cut", stop_after(2))
    assert fit(second, *data, config, tmp_path / "cut").resumed_from == 2 and same(whole, second)


@pytest.mark.parametrize("decay", [0.0, 1.0, -0.5])
def test_a_decay_that_is_none_is_refused(decay) -> None:
    with pytest.raises(UsageError, match="ema"):
        replace(CONFIG, ema=decay)
