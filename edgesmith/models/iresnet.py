"""IResNet: the residual nets that ArcFace models are made of, in the role of the teacher.

Source: Duta et al. 2020, arXiv 2004.04989, in the form of Deng et al. 2019, arXiv 1801.07698, section 3.1 ("E").
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn

from edgesmith.errors import UsageError
from edgesmith.models.card import Card, image_card, image_size
from edgesmith.models.layers import ConvBnAct, EmbeddingNet, seeded
from edgesmith.models.pretrained import BN, load_renamed, unit_keys
from edgesmith.tensors import Preprocessing

# Depth -> blocks of the four stages; the first of each stage halves the map.
BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 14, 3), 100: (3, 13, 30, 3)}
HALF = (0.5, 0.5, 0.5)
STRIDE = 16
FIRST = 64


class IBasicBlock(nn.Module):
    """norm, 3x3 convolution, norm, activation, 3x3 convolution, norm; nothing after the sum."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, act: str) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(channels_in)
        self.first = ConvBnAct(channels_in, channels_out, 3, 1, 1, act=act)
        self.second = ConvBnAct(channels_out, channels_out, 3, stride, 1)
        same = stride == 1 and channels_in == channels_out
        self.shortcut = nn.Identity() if same else ConvBnAct(channels_in, channels_out, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(self.bn(x))) + self.shortcut(x)


def build(
    depth: int = 50,
    embedding: int = 512,
    width: float = 1.0,
    act: str = "prelu",
    dropout: float = 0.0,
    size: int | Sequence[int] = 112,
    classes: int = 0,
    weights: str | None = None,
    labels: Sequence[str] = (),
    seed: int = 0,
    trust_pickle: bool = False,
) -> tuple[EmbeddingNet, Card]:
    """Build IResNet of depth 18, 34, 50 or 100; without classes it gives the embedding.

    `weights` is a file with our key names or with those of InsightFace's arcface_torch.
    Raises: UsageError, MissingResource, UntrustedFile, DamagedArtifact.
    """
    if depth not in BLOCKS:
        raise UsageError(f"iresnet of depth {depth}", "no such depth", f"choose one of: {', '.join(map(str, BLOCKS))}")
    if width <= 0 or not 0 <= dropout < 1:
        raise UsageError("iresnet", f"width {width}, dropout {dropout}", "give width > 0 and dropout in 0..1")
    sides = image_size(size)
    with seeded(seed):
        net = EmbeddingNet(_body(BLOCKS[depth], embedding, width, act, dropout, sides), embedding, classes)
    notes = load_renamed(net, weights, _author_keys(BLOCKS[depth]), "InsightFace", trust_pickle) if weights else ()
    preprocessing = Preprocessing(sides, HALF, HALF)
    return net.eval(), image_card(f"iresnet{depth}", preprocessing, embedding, classes, labels, notes)


def _body(
    blocks: Sequence[int], embedding: int, width: float, act: str, dropout: float, size: tuple[int, int]
) -> nn.Sequential:
    channels = max(8, round(FIRST * width / 8) * 8)
    layers: OrderedDict[str, nn.Module] = OrderedDict(stem=ConvBnAct(3, channels, 3, 1, 1, act=act))
    before = channels
    for stage, count in enumerate(blocks):
        out = channels << stage
        steps = [IBasicBlock(before if i == 0 else out, out, 2 if i == 0 else 1, act) for i in range(count)]
        layers[f"stage{stage + 1}"] = nn.Sequential(*steps)
        before = out
    area = -(-size[0] // STRIDE) * -(-size[1] // STRIDE)
    layers["bn"] = nn.BatchNorm2d(before)
    layers["dropout"] = nn.Dropout(dropout)
    layers["flatten"] = nn.Flatten()
    layers["embedding"] = nn.Linear(before * area, embedding)
    layers["features"] = unscaled_norm(embedding)
    return nn.Sequential(layers)


def unscaled_norm(channels: int) -> nn.BatchNorm1d:
    """Batch norm of an embedding whose scale stays 1: the margin loss normalises lengths anyway."""
    norm = nn.BatchNorm1d(channels)
    nn.init.ones_(norm.weight)
    norm.weight.requires_grad_(False)
    return norm


def _author_keys(blocks: Sequence[int]) -> dict[str, str]:
    """InsightFace's key names -> ours."""
    keys = unit_keys("conv1", "bn1", "prelu", "body.stem")
    for stage, count in enumerate(blocks, 1):
        for index in range(count):
            theirs, ours = f"layer{stage}.{index}", f"body.stage{stage}.{index}"
            keys |= {f"{theirs}.bn1.{name}": f"{ours}.bn.{name}" for name in BN}
            keys |= unit_keys(f"{theirs}.conv1", f"{theirs}.bn2", f"{theirs}.prelu", f"{ours}.first")
            keys |= unit_keys(f"{theirs}.conv2", f"{theirs}.bn3", None, f"{ours}.second")
        keys |= unit_keys(
            f"layer{stage}.0.downsample.0", f"layer{stage}.0.downsample.1", None, f"body.stage{stage}.0.shortcut"
        )
    keys |= {f"bn2.{name}": f"body.bn.{name}" for name in BN}
    keys |= {f"features.{name}": f"body.features.{name}" for name in BN}
    return keys | {"fc.weight": "body.embedding.weight", "fc.bias": "body.embedding.bias"}
