"""A smaller net out of a trained one: residual blocks left out, and channels left out by what they contribute.

What is left is a start for a training (distillation above all), not a finished net. No data are needed: a batch norm
knows mean and spread of what it gives, so each channel's part in the next layer is known, too. Source of the idea:
Liu et al. 2017 (arXiv 1708.06519) for channels judged by their batch norm, Veit et al. 2016 (arXiv 1605.06431) for
residual blocks that can be left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from edgesmith.errors import UsageError
from edgesmith.models.layers import ConvBnAct

NODES = 33  # of the Gauss-Hermite quadrature over a channel's values


@dataclass(frozen=True)
class Moments:
    """Mean and standard deviation of each channel behind an activation. Shape: (C,) each."""

    mean: Tensor
    std: Tensor


def moments(unit: ConvBnAct) -> Moments:
    """What a unit's channels give, were their batch norm's values normal: N(bias, weight^2) through the activation."""
    points, weights = np.polynomial.hermite_e.hermegauss(NODES)
    spread, centre = unit.bn.weight.detach().double().abs(), unit.bn.bias.detach().double()
    values = centre + spread * torch.from_numpy(points)[:, None]
    given = unit.act(values.float()[:, :, None, None])[:, :, 0, 0].detach().double()
    share = torch.from_numpy(weights / weights.sum())[:, None]
    mean = (share * given).sum(0)
    return Moments(mean, ((share * (given - mean) ** 2).sum(0)).sqrt())


@torch.no_grad()
def thin(producers: Sequence[ConvBnAct], consumer: ConvBnAct, count: int) -> None:
    """Keep the `count` channels of `producers` that vary most in the consumer's input; the others' mean stays.

    producers: a convolution and the depthwise ones behind it, if any; the last one feeds the consumer, a plain
    convolution. A channel's part is the standard deviation it gives times the length of its column in the consumer;
    what a channel that goes gave on average is taken over by the consumer's batch norm.
    Raises: UsageError for a count that is not 1 to the channels there are.
    """
    last = producers[-1]
    channels = last.conv.out_channels
    if not 1 <= count <= channels:
        raise UsageError(f"keep {count} channels", f"there are {channels}", f"ask for 1 to {channels}")
    given = moments(last)
    columns = consumer.conv.weight.detach().double().sum((2, 3))
    part = given.std * columns.norm(dim=0)
    kept = part.topk(count).indices.sort().values
    gone = torch.ones(channels, dtype=torch.bool)
    gone[kept] = False
    _running(consumer)[0].sub_(columns[:, gone] @ given.mean[gone])
    for unit in producers:
        _keep_outputs(unit, kept)
    consumer.conv.weight = nn.Parameter(consumer.conv.weight[:, kept].clone())
    consumer.conv.in_channels = count


def _running(unit: ConvBnAct) -> tuple[Tensor, Tensor]:
    mean, variance = unit.bn.running_mean, unit.bn.running_var
    if mean is None or variance is None:
        raise UsageError("leave channels out", "a batch norm without running statistics", "use the net's own layers")
    return mean, variance


def _keep_outputs(unit: ConvBnAct, kept: Tensor) -> None:
    """Leave a unit these output channels; a depthwise convolution loses the same inputs."""
    conv, bn = unit.conv, unit.bn
    conv.weight = nn.Parameter(conv.weight[kept].clone())
    if conv.bias is not None:
        conv.bias = nn.Parameter(conv.bias[kept].clone())
    if conv.groups > 1:
        conv.groups = conv.in_channels = len(kept)
    conv.out_channels = bn.num_features = len(kept)
    bn.weight, bn.bias = nn.Parameter(bn.weight[kept].clone()), nn.Parameter(bn.bias[kept].clone())
    bn.running_mean, bn.running_var = (statistic[kept].clone() for statistic in _running(unit))
    if isinstance(unit.act, nn.PReLU):
        unit.act.weight = nn.Parameter(unit.act.weight[kept].clone())
        unit.act.num_parameters = len(kept)
