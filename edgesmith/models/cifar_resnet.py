"""Residual nets for 32x32 pictures: resnet20, 56, 110, and the four times wider resnet8x4, 32x4.

Source: He et al. 2016, section 4.2; the x4 widths are those of Tian et al. 2020 (RepDistiller), the usual pairs of
distillation papers.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from edgesmith.errors import UsageError
from edgesmith.models.card import Card, image_card, image_size
from edgesmith.models.layers import ConvBnAct, EmbeddingNet, seeded
from edgesmith.models.pretrained import load_renamed, unit_keys
from edgesmith.models.resnet import BasicBlock
from edgesmith.tensors import Preprocessing

MEAN, STD = (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)  # CIFAR-100's own
# Channels of the stem and of the three stages.
WIDTHS = {"": (16, 16, 32, 64), "x4": (32, 64, 128, 256)}
NAME = re.compile(r"resnet(\d+)(x4|)")


def build(
    variant: str = "resnet8x4",
    classes: int = 100,
    size: int | Sequence[int] = 32,
    act: str = "relu",
    weights: str | None = None,
    labels: Sequence[str] = (),
    seed: int = 0,
    trust_pickle: bool = False,
) -> tuple[EmbeddingNet, Card]:
    """Build resnet<6n+2> or resnet<6n+2>x4; the embedding (64 or 256) is the mean of the last map.

    The mean is over the whole map, so any size does. `weights` is a file with our key names or with RepDistiller's.
    Raises: UsageError, MissingResource, UntrustedFile, DamagedArtifact.
    """
    found = NAME.fullmatch(variant)
    depth = int(found.group(1)) if found else 0
    if found is None or depth < 8 or (depth - 2) % 6:
        todo = "write resnet<depth> or resnet<depth>x4 with depth 8, 14, 20, 26, 32 and so on"
        raise UsageError(f"cifar-resnet {variant!r}", "no such net", todo)
    widths, count = WIDTHS[found.group(2)], (depth - 2) // 6
    with seeded(seed):
        net = EmbeddingNet(_body(widths, count, act), widths[-1], classes)
        _initialise(net)
    notes = load_renamed(net, weights, _author_keys(widths, count), "RepDistiller", trust_pickle) if weights else ()
    preprocessing = Preprocessing(image_size(size), MEAN, STD)
    return net.eval(), image_card(variant, preprocessing, widths[-1], classes, labels, notes)


def _body(widths: Sequence[int], count: int, act: str) -> nn.Sequential:
    layers: OrderedDict[str, nn.Module] = OrderedDict(stem=ConvBnAct(3, widths[0], 3, 1, 1, act=act))
    for stage, (before, out) in enumerate(pairwise(widths)):
        stride = 1 if stage == 0 else 2
        steps = [BasicBlock(before if i == 0 else out, out, stride if i == 0 else 1, act) for i in range(count)]
        layers[f"stage{stage + 1}"] = nn.Sequential(*steps)
    layers["pool"] = nn.AdaptiveAvgPool2d(1)
    return nn.Sequential(layers)


def _initialise(net: nn.Module) -> None:
    """As the published baselines start. Source: He et al. 2015, equation 10, counted over outputs."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def _author_keys(widths: Sequence[int], count: int) -> dict[str, str]:
    keys = unit_keys("conv1", "bn1", None, "body.stem")
    for stage, (before, out) in enumerate(pairwise(widths), 1):
        for index in range(count):
            theirs, ours = f"layer{stage}.{index}", f"body.stage{stage}.{index}"
            keys |= unit_keys(f"{theirs}.conv1", f"{theirs}.bn1", None, f"{ours}.first")
            keys |= unit_keys(f"{theirs}.conv2", f"{theirs}.bn2", None, f"{ours}.second")
        if before != out or stage > 1:
            first = f"layer{stage}.0.downsample"
            keys |= unit_keys(f"{first}.0", f"{first}.1", None, f"body.stage{stage}.0.shortcut")
    return keys | {"fc.weight": "head.weight", "fc.bias": "head.bias"}
