"""Nets with an operator that no converter knows, or that one of them lacks."""

import torch
from torch import Tensor, nn


@torch.library.custom_op("edgesmith_test::odd", mutates_args=())
def odd(x: Tensor) -> Tensor:
    return x.clone()


@odd.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


class Odd(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.edgesmith_test.odd(x)


class Det(nn.Module):
    """ONNX has Det; OpenVINO and Core ML cannot take it."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.det(x)


class Block(nn.Module):
    def __init__(self, act: nn.Module) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1, bias=False)
        self.bn = nn.BatchNorm2d(4)
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.conv(x)))


class Net(nn.Module):
    """Input x (1, 3, 4, 4); the operator in question is in `block.0.act`."""

    def __init__(self, act: nn.Module) -> None:
        super().__init__()
        self.block = nn.ModuleList([Block(act)])

    def forward(self, x: Tensor) -> Tensor:
        return self.block[0](x)
