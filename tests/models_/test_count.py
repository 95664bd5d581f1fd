import torch
from torch import nn

from edgesmith.models.count import count_macs, count_parameters


def test_macs_of_grouped_convolution_and_linear() -> None:
    net = nn.Sequential(nn.Conv2d(4, 8, 3, stride=2, padding=1, groups=2), nn.Flatten(), nn.Linear(8 * 4 * 4, 5))
    conv, linear = 8 * 4 * 4 * (4 // 2) * 9, 8 * 4 * 4 * 5
    assert count_macs(net, torch.zeros(1, 4, 8, 8)) == conv + linear


def test_counting_leaves_the_net_as_it_was() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).train()
    count_macs(net, torch.randn(2, 3, 4, 4))
    assert net.training and not net[0]._forward_hooks
    assert int(net[1].num_batches_tracked) == 0


def test_a_shared_parameter_counts_once() -> None:
    layer = nn.Linear(3, 3)
    assert count_parameters(nn.Sequential(layer, layer)) == 12
