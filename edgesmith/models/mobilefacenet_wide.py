"""The wider MobileFaceNet of the InsightFace project: "mbf" (437 M multiply-accumulates) and "mbf_large" (1.8 G).

Not the paper's net (mobilefacenet.py): its name "0.45G" counts multiply-accumulates, the paper's 0.44 G counts two
operations for each of 221 M. Here the second convolution is grouped by 64, not depthwise, and inner widths are fixed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from edgesmith.errors import UsageError
from edgesmith.models.card import Card, image_card, image_size
from edgesmith.models.layers import ConvBnAct, EmbeddingNet, seeded
from edgesmith.models.mobilefacenet import STRIDE, Bottleneck
from edgesmith.models.pretrained import BN, load_renamed, unit_keys
from edgesmith.tensors import Preprocessing

HALF = (0.5, 0.5, 0.5)
LAST = 512


@dataclass(frozen=True)
class Variant:
    """Scale of the widths; residual blocks before the first and after each of the three downsampling blocks."""

    scale: int
    blocks: tuple[int, int, int, int]

    @property
    def grouped_stem(self) -> bool:
        """With one block in front, that block is a single grouped convolution."""
        return self.blocks[0] == 1


VARIANTS = {"mbf": Variant(2, (1, 4, 6, 2)), "mbf_large": Variant(4, (2, 8, 12, 4))}
# (channels before scale, inner channels of the downsampling block, inner channels of the residual blocks)
STAGES = ((64, 128, 128), (128, 256, 256), (128, 512, 256))


def build(
    variant: str = "mbf",
    embedding: int = 512,
    act: str = "prelu",
    size: int | Sequence[int] = 112,
    classes: int = 0,
    weights: str | None = None,
    labels: Sequence[str] = (),
    seed: int = 0,
    trust_pickle: bool = False,
) -> tuple[EmbeddingNet, Card]:
    """Build "mbf" or "mbf_large"; without classes it gives the embedding.

    `weights` is a file with our key names or with those of InsightFace's arcface_torch.
    Raises: UsageError, MissingResource, UntrustedFile, DamagedArtifact.
    """
    if variant not in VARIANTS:
        todo = f"choose one of: {', '.join(VARIANTS)}"
        raise UsageError(f"mobilefacenet-wide variant {variant!r}", "no such name", todo)
    chosen, sides = VARIANTS[variant], image_size(size)
    with seeded(seed):
        net = EmbeddingNet(_body(chosen, embedding, act, sides), embedding, classes)
    notes = load_renamed(net, weights, _author_keys(chosen), "InsightFace", trust_pickle) if weights else ()
    return net.eval(), image_card(variant, Preprocessing(sides, HALF, HALF), embedding, classes, labels, notes)


def _body(variant: Variant, embedding: int, act: str, size: tuple[int, int]) -> nn.Sequential:
    first = 64 * variant.scale
    layers: OrderedDict[str, nn.Module] = OrderedDict(stem=ConvBnAct(3, first, 3, 2, 1, act=act))
    if variant.grouped_stem:
        layers["grouped"] = ConvBnAct(first, first, 3, 1, 1, groups=64, act=act)
    else:
        layers["blocks0"] = _residual(first, variant.blocks[0], 128, act)
    before = first
    for stage, ((channels, inner, residual), count) in enumerate(zip(STAGES, variant.blocks[1:]), 1):
        out = channels * variant.scale
        layers[f"down{stage}"] = Bottleneck(before, out, inner, 2, act)
        layers[f"blocks{stage}"] = _residual(out, count, residual, act)
        before = out
    window = (-(-size[0] // STRIDE), -(-size[1] // STRIDE))
    layers["expand"] = ConvBnAct(before, LAST, act=act)
    layers["gdconv"] = ConvBnAct(LAST, LAST, window, groups=LAST)
    layers["flatten"] = nn.Flatten()
    layers["embedding"] = nn.Linear(LAST, embedding, bias=False)
    layers["features"] = nn.BatchNorm1d(embedding)
    return nn.Sequential(layers)


def _residual(channels: int, count: int, inner: int, act: str) -> nn.Sequential:
    return nn.Sequential(*[Bottleneck(channels, channels, inner, 1, act) for _ in range(count)])


def _author_keys(variant: Variant) -> dict[str, str]:
    """InsightFace's key names -> ours."""
    keys = _unit("layers.0", "body.stem")
    if variant.grouped_stem:
        keys |= _unit("layers.1", "body.grouped")
    else:
        keys |= _blocks("layers.1", "body.blocks0", variant.blocks[0])
    for stage, count in enumerate(variant.blocks[1:], 1):
        keys |= _block(f"layers.{2 * stage}", f"body.down{stage}")
        keys |= _blocks(f"layers.{2 * stage + 1}", f"body.blocks{stage}", count)
    keys |= _unit("conv_sep", "body.expand") | _unit("features.layers.0", "body.gdconv", act=False)
    keys |= {f"features.layers.3.{name}": f"body.features.{name}" for name in BN}
    return keys | {"features.layers.2.weight": "body.embedding.weight"}


def _blocks(theirs: str, ours: str, count: int) -> dict[str, str]:
    found: dict[str, str] = {}
    for index in range(count):
        found |= _block(f"{theirs}.layers.{index}", f"{ours}.{index}")
    return found


def _block(theirs: str, ours: str) -> dict[str, str]:
    keys = _unit(f"{theirs}.layers.0", f"{ours}.expand") | _unit(f"{theirs}.layers.1", f"{ours}.depthwise")
    return keys | _unit(f"{theirs}.layers.2", f"{ours}.project", act=False)


def _unit(theirs: str, ours: str, act: bool = True) -> dict[str, str]:
    return unit_keys(f"{theirs}.layers.0", f"{theirs}.layers.1", f"{theirs}.layers.2" if act else None, ours)
