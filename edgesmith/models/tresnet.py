"""TResNet: a residual net made for throughput, the backbone of the multi-label papers (ASL, CSL, SDL).

Source: Ridnik et al. 2020, arXiv 2003.13630. InPlaceABN is batch norm and a leaky ReLU here, and space-to-depth is
written with slices: every exporter takes both.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgesmith.errors import UsageError
from edgesmith.models.card import Card, image_card, image_size
from edgesmith.models.inplace_abn import as_batch_norm
from edgesmith.models.layers import ConvBnAct, EmbeddingNet, seeded
from edgesmith.models.pretrained import unit_keys
from edgesmith.models.weights import load_strict, read_weights
from edgesmith.tensors import Preprocessing

STRIDE = 32
STEM_SLOPE, SLOPE = 1e-2, 1e-3
EXPANSION = 4  # of the bottlenecks, which are stages 3 and 4
LEAST_SQUEEZE = 64


class SpaceToDepth(nn.Module):
    """Every 4 x 4 pixels become one of 16 times the channels. Shape: (N, C, H, W) -> (N, 16 C, H/4, W/4)."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x[:, :, i::4, j::4] for i in range(4) for j in range(4)], 1)


class BlurPool(nn.Module):
    """A 3 x 3 binomial filter at every second pixel, the border reflected. Source: Zhang 2019, arXiv 1904.11486."""

    kernel: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        row = torch.tensor([0.25, 0.5, 0.25])
        kernel = (row[:, None] * row[None, :]).expand(channels, 1, 3, 3).contiguous()
        self.register_buffer("kernel", kernel, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), self.kernel, stride=2, groups=len(self.kernel))


class SqueezeExcite(nn.Module):
    """Channels scaled by what the whole map says. Source: Hu et al. 2018, arXiv 1709.01507."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc1, self.act, self.fc2 = nn.Conv2d(channels, squeezed, 1), nn.ReLU(), nn.Conv2d(squeezed, channels, 1)
        self.gate = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(self.fc2(self.act(self.fc1(self.pool(x)))))


class Block(nn.Module):
    """A residual block: two 3x3 convolutions ("basic"), or 1x1, 3x3 and 1x1 ("bottleneck"), with squeeze-excite.

    A block of stride 2 blurs the map behind its first 3x3 convolution and averages the shortcut.
    """

    def __init__(self, channels_in: int, planes: int, stride: int, bottleneck: bool, squeeze: bool) -> None:
        super().__init__()
        out = planes * EXPANSION if bottleneck else planes
        self.reduce = unit(channels_in, planes, 1, SLOPE) if bottleneck else nn.Identity()
        self.spatial = unit(planes if bottleneck else channels_in, planes, 3, SLOPE)
        self.blur = BlurPool(planes) if stride == 2 else nn.Identity()
        last = ConvBnAct(planes, out, 1) if bottleneck else ConvBnAct(planes, planes, 3, 1, 1)
        excite = SqueezeExcite(planes, max(planes // (2 if bottleneck else 4), LEAST_SQUEEZE)) if squeeze else None
        # A bottleneck excites its narrow maps, a basic block its result.
        parts = [excite, last] if bottleneck else [last, excite]
        names = ["excite", "last"] if bottleneck else ["last", "excite"]
        self.rest = nn.Sequential(OrderedDict((n, p) for n, p in zip(names, parts) if p is not None))
        same = stride == 1 and channels_in == out
        pool = nn.AvgPool2d(2) if stride == 2 else nn.Identity()
        projected = nn.Sequential(OrderedDict(pool=pool, unit=ConvBnAct(channels_in, out)))
        self.shortcut = nn.Identity() if same else projected
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.rest(self.blur(self.spatial(self.reduce(x)))) + self.shortcut(x))


def unit(channels_in: int, channels_out: int, kernel: int, slope: float) -> ConvBnAct:
    """Convolution, batch norm and a leaky ReLU: what conv and InPlaceABN are in the authors' net."""
    made = ConvBnAct(channels_in, channels_out, kernel, 1, kernel // 2)
    made.act = nn.LeakyReLU(slope)
    return made


def tresnet_m(
    blocks: Sequence[int] = (3, 4, 11, 3),
    width: float = 1.0,
    size: int | Sequence[int] = 224,
    classes: int = 0,
    weights: str | None = None,
    labels: Sequence[str] = (),
    seed: int = 0,
    trust_pickle: bool = False,
) -> tuple[EmbeddingNet, Card]:
    """TResNet-M; smaller `blocks` and `width` make a tiny one. Sides are multiples of 32 pixels.

    `weights` is a file with our key names, the authors' (InPlaceABN) or timm's; a head of another number of classes
    is left out. Raises: UsageError, MissingResource, UntrustedFile, DamagedArtifact.
    """
    return _build("tresnet_m", blocks, width, size, classes, weights, labels, seed, trust_pickle)


def tresnet_l(
    blocks: Sequence[int] = (4, 5, 18, 3),
    width: float = 1.2,
    size: int | Sequence[int] = 448,
    classes: int = 0,
    weights: str | None = None,
    labels: Sequence[str] = (),
    seed: int = 0,
    trust_pickle: bool = False,
) -> tuple[EmbeddingNet, Card]:
    """TResNet-L, otherwise as tresnet_m."""
    return _build("tresnet_l", blocks, width, size, classes, weights, labels, seed, trust_pickle)


def _build(
    name: str,
    blocks: Sequence[int],
    width: float,
    size: int | Sequence[int],
    classes: int,
    weights: str | None,
    labels: Sequence[str],
    seed: int,
    trust_pickle: bool,
) -> tuple[EmbeddingNet, Card]:
    planes, sides = int(64 * width), image_size(size)
    if len(blocks) != 4 or any(count < 1 for count in blocks) or planes < 1:
        raise UsageError(name, f"width {width}, blocks {tuple(blocks)}", "give width > 0 and four positive numbers")
    if any(side % STRIDE for side in sides):
        raise UsageError(f"{name} for pictures of {sides}", "not multiples of 32", "take 224 or 448, say")
    embedding = (planes << 3) * EXPANSION
    with seeded(seed):
        net = EmbeddingNet(_body(planes, blocks), embedding, classes)
        for module in net.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="leaky_relu")
    notes = _load(net, weights, blocks, trust_pickle) if weights else ()
    preprocessing = Preprocessing(sides, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))  # the papers take pixels from 0 to 1
    return net.eval(), image_card(name, preprocessing, embedding, classes, labels, notes)


def _body(planes: int, blocks: Sequence[int]) -> nn.Sequential:
    layers: OrderedDict[str, nn.Module] = OrderedDict(space_to_depth=SpaceToDepth())
    layers["stem"] = unit(48, planes, 3, STEM_SLOPE)
    channels = planes
    for stage, count in enumerate(blocks):
        bottleneck, own = stage >= 2, planes << stage
        steps = []
        for index in range(count):
            stride = 2 if stage and not index else 1
            steps.append(Block(channels, own, stride, bottleneck, squeeze=stage < 3))
            channels = own * EXPANSION if bottleneck else own
        layers[f"stage{stage + 1}"] = nn.Sequential(*steps)
    layers["pool"] = nn.AdaptiveAvgPool2d(1)
    return nn.Sequential(layers)


def _load(net: EmbeddingNet, path: str, blocks: Sequence[int], trust_pickle: bool) -> tuple[str, ...]:
    """Copy a checkpoint into the net, from whichever names; gives notes for the card."""
    state = {key: value for key, value in read_weights(path, trust_pickle).items() if not key.endswith(".filt")}
    own = net.state_dict()
    if set(state) & set(own) == set(own):
        load_strict(net, state, path)
        return ()
    timm = "body.conv1.conv.weight" in state
    names = _keys(blocks, timm)
    renamed = {names.get(key, key): value for key, value in state.items()}
    if not timm:
        norms = [key.removesuffix(".running_mean") for key in own if key.endswith(".running_mean")]
        renamed = as_batch_norm(renamed, [name for name in norms if f"{name}.weight" in renamed])
    return _load_renamed(net, renamed, path)


def _load_renamed(net: EmbeddingNet, state: dict[str, Tensor], path: str) -> tuple[str, ...]:
    own, head, notes = net.state_dict(), [key for key in state if key.startswith("head.")], list[str]()
    if any(key not in own or state[key].shape != own[key].shape for key in head):
        found = len(state[head[0]])
        state = {key: value for key, value in state.items() if key not in head}
        notes += [f"the checkpoint's head of {found} classes was left out"]
    optional = [key for key in own if key.startswith("head.") and key not in state]
    load_strict(net, state, path, optional=optional)
    return tuple([*notes, *(["the head is random"] if optional else [])])


def _keys(blocks: Sequence[int], timm: bool) -> dict[str, str]:
    """The authors' key names (or timm's) -> ours."""
    keys = _unit("body.conv1", "body.stem", timm)
    for stage, count in enumerate(blocks):
        for index in range(count):
            theirs, ours = f"body.layer{stage + 1}.{index}", f"body.stage{stage + 1}.{index}"
            convs = ("reduce", "spatial", "rest.last") if stage >= 2 else ("spatial", "rest.last")
            for number, part in enumerate(convs, 1):
                # The authors wrap the unit in front of a blur once more.
                blurred = not timm and part == "spatial" and stage > 0 and index == 0
                keys |= _unit(f"{theirs}.conv{number}{'.0' if blurred else ''}", f"{ours}.{part}", timm)
            keys |= {
                f"{theirs}.se.{layer}.{kind}": f"{ours}.rest.excite.{layer}.{kind}"
                for layer in ("fc1", "fc2") for kind in ("weight", "bias")
            }  # fmt: skip
            keys |= _unit(f"{theirs}.downsample.1", f"{ours}.shortcut.unit", timm)
    return keys | {f"head.fc.{kind}": f"head.{kind}" for kind in ("weight", "bias")}


def _unit(theirs: str, ours: str, timm: bool) -> dict[str, str]:
    return unit_keys(f"{theirs}.{'conv' if timm else '0'}", f"{theirs}.{'bn' if timm else '1'}", None, ours)
