"""MobileFaceNet: a face net of about 1 M parameters.

Source: Chen et al. 2018, arXiv 1804.07573, table 1; the global depthwise convolution is "GDConv" there.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from edgesmith.errors import UsageError
from edgesmith.models.card import Card, image_card, image_size
from edgesmith.models.layers import ConvBnAct, EmbeddingNet, seeded
from edgesmith.models.pretrained import load_pretrained
from edgesmith.models.slim import thin
from edgesmith.tensors import Preprocessing

# (expansion t, channels c, repeats n, stride s of the first)
STAGES = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))
STRIDE = 16
CENTRED = ((0.5,) * 3, (128 / 255,) * 3)  # (x - 127.5) / 128 on bytes
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True)
class Layout:
    """A published variant: what its stem and embedding look like, and how its pictures are prepared."""

    act: str
    size: tuple[int, int]
    normalisation: tuple[tuple[float, ...], tuple[float, ...]]
    stem_pointwise: bool = False
    embedding_bias: bool = False


LAYOUTS = {
    "paper": Layout("prelu", (112, 112), CENTRED),
    "foamliu": Layout("relu6", (112, 112), IMAGENET, stem_pointwise=True, embedding_bias=True),
    "xiaoccer": Layout("prelu", (112, 96), CENTRED),
}


@dataclass(frozen=True)
class Slim:
    """What is kept of the net (slim.py): numbers of bottlenecks, and channels of stem, inner layers and last layer.

    blocks: which of the 15 stay, all unless told; only one with a shortcut can go. inner: share of each bottleneck's
    inner channels. stem and last: numbers of channels, all unless told.
    """

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 - read by pydantic, where a recipe is checked
    blocks: tuple[int, ...] | None = None
    inner: float = 1.0
    stem: int | None = None
    last: int | None = None


class Bottleneck(nn.Module):
    """MobileNetV2's inverted residual: expand, depthwise, project; a shortcut where the shape stays."""

    def __init__(self, channels_in: int, channels_out: int, hidden: int, stride: int, act: str) -> None:
        super().__init__()
        self.expand = ConvBnAct(channels_in, hidden, act=act)
        self.depthwise = ConvBnAct(hidden, hidden, 3, stride, 1, groups=hidden, act=act)
        self.project = ConvBnAct(hidden, channels_out)
        self.shortcut = stride == 1 and channels_in == channels_out

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.depthwise(self.expand(x)))
        return x + y if self.shortcut else y


def build(
    embedding: int = 128,
    width: float = 1.0,
    act: str | None = None,
    size: int | Sequence[int] | None = None,
    classes: int = 0,
    weights: str | None = None,
    layout: str = "paper",
    labels: Sequence[str] = (),
    seed: int = 0,
    trust_pickle: bool = False,
    slim: Slim | None = None,
    slim_from: str | None = None,
) -> tuple[EmbeddingNet, Card]:
    """Build the net; act and size left out are the layout's own, without classes it gives the embedding.

    `weights` is a file with our key names, or a layout's public checkpoint with its author's. `slim` leaves a part of
    the net out; `slim_from` is a checkpoint of the whole net to start from, `weights` then are those of what is left.
    Raises: UsageError, MissingResource, UntrustedFile, DamagedArtifact.
    """
    if layout not in LAYOUTS:
        raise UsageError(f"mobilefacenet layout {layout!r}", "no such name", f"choose one of: {', '.join(LAYOUTS)}")
    chosen = LAYOUTS[layout]
    sides = image_size(chosen.size if size is None else size)
    with seeded(seed):
        net = EmbeddingNet(_body(chosen, embedding, width, act or chosen.act, sides), embedding, classes)
    if slim_from and slim is None:
        raise UsageError("mobilefacenet slim_from", "nothing is to be left out", "give slim={...}, or weights instead")
    notes = load_pretrained(net, slim_from, layout, trust_pickle) if slim_from else ()
    if slim is not None:
        _slim(net.body, slim)
    notes = load_pretrained(net, weights, layout, trust_pickle) if weights else notes
    preprocessing = Preprocessing(sides, *chosen.normalisation)
    return net.eval(), image_card("mobilefacenet", preprocessing, embedding, classes, labels, notes)


def _body(layout: Layout, embedding: int, width: float, act: str, size: tuple[int, int]) -> nn.Sequential:
    first, last = _scaled(64, width), _scaled(512, width)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["stem"] = ConvBnAct(3, first, 3, 2, 1, act=act)
    layers["depthwise"] = ConvBnAct(first, first, 3, 1, 1, groups=first, act=act)
    if layout.stem_pointwise:
        layers["pointwise"] = ConvBnAct(first, first, act=act)
    layers["blocks"], channels = _blocks(first, width, act)
    layers["expand"] = ConvBnAct(channels, last, act=act)
    window = (-(-size[0] // STRIDE), -(-size[1] // STRIDE))  # the whole map that is left, one weight a position
    layers["gdconv"] = ConvBnAct(last, last, window, groups=last)
    layers["embedding"] = ConvBnAct(last, embedding, bias=layout.embedding_bias)
    return nn.Sequential(layers)


def _slim(body: Any, slim: Slim) -> None:
    """Leave blocks and channels out, in place. Raises: UsageError for what is not there or cannot go."""
    blocks = list(body.blocks)
    kept = set(range(len(blocks)) if slim.blocks is None else slim.blocks)
    fixed = {index for index, block in enumerate(blocks) if not block.shortcut}
    if wrong := sorted((kept - set(range(len(blocks)))) | (fixed - kept)):
        todo = f"give numbers from 0 to {len(blocks) - 1}, {sorted(fixed)} among them: these have no shortcut"
        raise UsageError(f"keep blocks {sorted(kept)}", f"{wrong} cannot be kept, or cannot go", todo)
    body.blocks = nn.Sequential(*(blocks[index] for index in sorted(kept)))
    if slim.stem is not None:
        rest = [body.pointwise] if hasattr(body, "pointwise") else []
        thin((body.stem, body.depthwise), rest[0] if rest else body.blocks[0].expand, slim.stem)
        if rest:
            thin(rest, body.blocks[0].expand, slim.stem)
    for block in body.blocks:
        hidden = block.expand.conv.out_channels
        thin((block.expand, block.depthwise), block.project, _scaled(hidden, slim.inner))
    if slim.last is not None:
        thin((body.expand, body.gdconv), body.embedding, slim.last)


def _blocks(channels: int, width: float, act: str) -> tuple[nn.Sequential, int]:
    blocks = []
    for expansion, out, repeats, stride in STAGES:
        for index in range(repeats):
            scaled = _scaled(out, width)
            blocks.append(Bottleneck(channels, scaled, expansion * channels, stride if index == 0 else 1, act))
            channels = scaled
    return nn.Sequential(*blocks), channels


def _scaled(channels: int, width: float) -> int:
    """Channels times width, to the nearest multiple of 8 (vector units like it), at least 8."""
    if width <= 0:
        raise UsageError("mobilefacenet", f"width {width}", "give a positive width")
    return max(8, round(channels * width / 8) * 8)
