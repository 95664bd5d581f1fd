"""Five tiny nets used everywhere, and one with two inputs, two outputs and a dynamic batch."""

import torch
from torch import Tensor, nn


class ConvBnRelu(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(8)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.conv(x)))


class ResidualAdd(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = ConvBnRelu()
        self.conv = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        return torch.relu(y + self.conv(y))


class Concat(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Conv2d(3, 4, 1)
        self.right = nn.Conv2d(3, 4, 3, padding=1)
        self.pool = nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(torch.cat([torch.relu(self.left(x)), torch.relu(self.right(x))], 1))


class Depthwise(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.expand = nn.Conv2d(3, 8, 1, bias=False)
        self.expand_bn = nn.BatchNorm2d(8)
        self.expand_act = nn.PReLU(8)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False)
        self.depthwise_bn = nn.BatchNorm2d(8)
        self.depthwise_act = nn.PReLU(8)
        self.project = nn.Conv2d(8, 4, 1, bias=False)
        self.project_bn = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.expand_act(self.expand_bn(self.expand(x)))
        x = self.depthwise_act(self.depthwise_bn(self.depthwise(x)))
        return self.project_bn(self.project(x))


class Linear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(3 * 8 * 8, 16)
        self.fc2 = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(torch.relu(self.fc1(x.flatten(1))))


class TwoInTwoOut(nn.Module):
    """Inputs `image` (N, 3, 8, 8) and `context` (N, 4); outputs (N, 5) and (N, 8)."""

    def __init__(self) -> None:
        super().__init__()
        self.body = ConvBnRelu()
        self.mix = nn.Linear(12, 5)

    def forward(self, image: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        pooled = self.body(image).mean((2, 3))
        return self.mix(torch.cat([pooled, context], 1)), pooled


TINY = {"conv-bn-relu": ConvBnRelu, "residual": ResidualAdd, "concat": Concat, "depthwise": Depthwise, "linear": Linear}


def tiny(name: str) -> nn.Module:
    """A seeded net in eval mode whose batch-norm statistics and PReLU slopes are not the trivial ones.

    Input (N, 3, 8, 8).
    """
    torch.manual_seed(0)
    net = TwoInTwoOut() if name == "two" else TINY[name]()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.3, 0.3)
        if isinstance(module, nn.PReLU):
            nn.init.uniform_(module.weight, -0.5, 1.5)
    return net.eval()
