"""A small residual net: a teacher that trains in seconds."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn

from edgesmith.errors import UsageError
from edgesmith.models.card import Card, image_card, image_size
from edgesmith.models.layers import ConvBnAct, EmbeddingNet, activation, seeded
from edgesmith.models.weights import load_strict, read_weights
from edgesmith.tensors import Preprocessing

HALF = (0.5, 0.5, 0.5)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut, projected where the shape changes. Source: He et al. 2016, fig. 2."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, act: str) -> None:
        super().__init__()
        self.first = ConvBnAct(channels_in, channels_out, 3, stride, 1, act=act)
        self.second = ConvBnAct(channels_out, channels_out, 3, 1, 1)
        same = stride == 1 and channels_in == channels_out
        self.shortcut = nn.Identity() if same else ConvBnAct(channels_in, channels_out, 1, stride)
        self.act = activation(act, channels_out)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.second(self.first(x)) + self.shortcut(x))


def build(
    width: int = 32,
    blocks: Sequence[int] = (1, 1, 1),
    embedding: int = 128,
    size: int | Sequence[int] = 64,
    classes: int = 0,
    act: str = "relu",
    weights: str | None = None,
    labels: Sequence[str] = (),
    seed: int = 0,
    trust_pickle: bool = False,
) -> tuple[EmbeddingNet, Card]:
    """Build a net whose stem and stages each halve the map and, from the second stage on, double the channels.

    Raises: UsageError, MissingResource, UntrustedFile, DamagedArtifact.
    """
    if width < 1 or not blocks or any(count < 1 for count in blocks):
        raise UsageError("resnet", f"width {width}, blocks {tuple(blocks)}", "give positive numbers")
    with seeded(seed):
        net = EmbeddingNet(_body(width, blocks, embedding, act), embedding, classes)
    if weights:
        load_strict(net, read_weights(weights, trust_pickle), weights)
    preprocessing = Preprocessing(image_size(size), HALF, HALF)
    return net.eval(), image_card("resnet", preprocessing, embedding, classes, labels)


def _body(width: int, blocks: Sequence[int], embedding: int, act: str) -> nn.Sequential:
    layers: OrderedDict[str, nn.Module] = OrderedDict(stem=ConvBnAct(3, width, 3, 2, 1, act=act))
    channels = width
    for stage, count in enumerate(blocks):
        out = width << stage
        steps = [BasicBlock(channels if i == 0 else out, out, 2 if i == 0 else 1, act) for i in range(count)]
        layers[f"stage{stage + 1}"] = nn.Sequential(*steps)
        channels = out
    layers["pool"] = nn.AdaptiveAvgPool2d(1)
    layers["embedding"] = ConvBnAct(channels, embedding)
    return nn.Sequential(layers)
