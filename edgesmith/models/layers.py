"""Convolution, batch norm and activation as one named unit, as the nets of this package use it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from edgesmith.errors import UsageError

ACTIVATIONS = ("prelu", "relu", "relu6", "hardswish", "none")


def activation(name: str, channels: int) -> nn.Module:
    """The non-linearity called `name`; PReLU has one slope a channel. Raises: UsageError for an unknown name."""
    made: dict[str, nn.Module] = {
        "prelu": nn.PReLU(channels),
        "relu": nn.ReLU(),
        "relu6": nn.ReLU6(),
        "hardswish": nn.Hardswish(),
        "none": nn.Identity(),
    }
    if name not in made:
        raise UsageError(f"activation {name!r}", "no such name", f"choose one of: {', '.join(ACTIVATIONS)}")
    return made[name]


class ConvBnAct(nn.Module):
    """conv -> batch norm -> activation; act "none" makes it linear."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int | tuple[int, int] = 1,
        stride: int = 1,
        padding: int = 0,
        groups: int = 1,
        act: str = "none",
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, kernel, stride, padding, groups=groups, bias=bias)
        self.bn = nn.BatchNorm2d(channels_out)
        self.act = activation(act, channels_out)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.conv(x)))


class EmbeddingNet(nn.Module):
    """A body that gives an embedding and a linear head on it; without classes there is no head.

    Shape: images (N, 3, H, W) -> embedding (N, d), or logits (N, classes).
    """

    def __init__(self, body: nn.Sequential, embedding: int, classes: int) -> None:
        super().__init__()
        self.body, self.embedding = body, embedding
        self.head = nn.Linear(embedding, classes) if classes else None

    def embed(self, x: Tensor) -> Tensor:
        return self.body(x).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        z = self.embed(x)
        return z if self.head is None else self.head(z)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """A block in which torch's CPU random numbers start from `seed`; the caller's own are untouched."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
