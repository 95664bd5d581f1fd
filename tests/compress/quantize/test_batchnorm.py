"""Batch-norm statistics measured anew."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from edgesmith.compress.quantize.batchnorm import reestimate_batchnorm
from edgesmith.errors import UsageError
from tests.models import tiny

BATCHES = [(torch.randn(16, 3, 8, 8, generator=torch.Generator().manual_seed(seed)) * 2 + 1,) for seed in range(5)]


def test_the_statistics_are_the_average_over_the_batches() -> None:
    net = tiny("conv-bn-relu")
    before = {name: value.clone() for name, value in net.state_dict().items()}
    made = reestimate_batchnorm(net, BATCHES)
    maps = [net.conv(x) for (x,) in BATCHES]  # type: ignore[operator]
    mean = torch.stack([m.mean((0, 2, 3)) for m in maps]).mean(0)
    var = torch.stack([m.var((0, 2, 3)) for m in maps]).mean(0)
    torch.testing.assert_close(made.bn.running_mean, mean)  # type: ignore[arg-type,union-attr]
    torch.testing.assert_close(made.bn.running_var, var)  # type: ignore[arg-type,union-attr]
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())  # the given net stays
    assert torch.equal(made.conv.weight, net.conv.weight)  # type: ignore[arg-type,union-attr]
    assert not any(part.training for part in made.modules()) and made.bn.momentum == 0.1  # type: ignore[union-attr]


def test_it_heals_a_net_whose_statistics_are_wrong() -> None:
    """Inputs ten times as large: with its own statistics a net does not see the difference."""
    net = reestimate_batchnorm(tiny("depthwise"), BATCHES)
    larger = [(10 * x,) for (x,) in BATCHES]
    x, healed = BATCHES[0][0], reestimate_batchnorm(net, larger)
    wanted = net(x)
    assert (healed(10 * x) - wanted).norm() < 0.05 * wanted.norm() < (net(10 * x) - wanted).norm()


def test_dropout_stays_out() -> None:
    net = nn.Sequential(nn.Dropout(0.9), nn.BatchNorm2d(3))
    made = reestimate_batchnorm(net, BATCHES)
    assert made[1].running_mean.mean() == pytest.approx(1.0, abs=0.1)  # type: ignore[index,operator,union-attr]


class Unused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.used, self.idle = nn.BatchNorm2d(3), nn.BatchNorm2d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.used(x)


@pytest.mark.parametrize(
    ("net", "batches", "found"),
    [
        (tiny("linear"), BATCHES, "folded into their layers already"),
        (tiny("conv-bn-relu"), [], "no batch"),
        (tiny("conv-bn-relu"), [(torch.full((4, 3, 8, 8), float("nan")),)], "bn: its statistics are not finite"),
        (Unused(), BATCHES, "idle: it never ran"),
    ],
)
def test_what_cannot_be_done_is_named(net: nn.Module, batches: list, found: str) -> None:
    with pytest.raises(UsageError) as caught:
        reestimate_batchnorm(net, batches)
    assert found in str(caught.value)
