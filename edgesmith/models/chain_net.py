"""A chain of layers of which each is chosen from a list: the nets a chain search finds, MobileNet-shaped.

Inverted residuals: Sandler et al. 2018, arXiv 1801.04381; the global depthwise convolution: arXiv 1804.07573. A choice
is a word: "mb-k3-e4-relu" expands 4 times and is depthwise of kernel 3, "conv-k3-e2-relu" expands by the 3x3
convolution itself, "conv-k3-relu" is one plain convolution, "identity" leaves the layer out.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from torch import Tensor, nn

from edgesmith import records
from edgesmith.errors import UsageError
from edgesmith.models.card import Card, image_card, image_size
from edgesmith.models.genotype import Edge, Genotype, check_genotype, load_genotype
from edgesmith.models.layers import ACTIVATIONS, ConvBnAct, EmbeddingNet, seeded
from edgesmith.tensors import Preprocessing

SPACE = "chain"
IDENTITY = "identity"
REFERENCE = "mb-k3-e2-relu"
POOLS = ("gdconv", "average")
_STRICT = {"extra": "forbid"}
_NAME = re.compile(r"(mb|conv)-k([1-9])(?:-e([1-9]))?-([a-z0-9]+)")


@dataclass(frozen=True)
class Choice:
    """A layer's name taken apart; kind "identity" has nothing else, expansion 0 is a plain convolution."""

    kind: str
    kernel: int = 1
    expansion: int = 0
    act: str = "none"


@dataclass(frozen=True)
class Slot:
    """A place in the chain: channels in and out, stride, and the height and width of the map that comes in."""

    channels_in: int
    channels_out: int
    stride: int
    height: int
    width: int

    @property
    def keeps_shape(self) -> bool:
        return self.stride == 1 and self.channels_in == self.channels_out

    @property
    def shape(self) -> str:
        """What the cost of a choice depends on, in a word: slots of one shape share what was measured."""
        return f"{self.channels_in}-{self.channels_out}-s{self.stride}-{self.height}x{self.width}"


@dataclass(frozen=True)
class Frame:
    """What a chain is besides its choices: image size, stem, stages of (channels, repeats, stride), pool, embedding."""

    __pydantic_config__ = _STRICT
    size: int | tuple[int, int] = 112
    stem: int = 64
    stem_stride: int = 2
    stages: tuple[tuple[int, int, int], ...] = ((64, 5, 2), (128, 7, 2), (128, 3, 2))
    last: int = 512
    pool: str = "gdconv"
    embedding: int = 128
    act: str = "prelu"

    def __post_init__(self) -> None:
        if any(len(stage) != 3 for stage in self.stages):
            raise UsageError("a chain", f"stages {self.stages}", "write [channels, repeats, stride] for each")
        counts = [self.stem, self.stem_stride, self.last, self.embedding, *(n for stage in self.stages for n in stage)]
        if not self.stages or min(counts) < 1:
            raise UsageError("a chain", f"{self}", "give at least one stage, and numbers of at least 1")
        if self.pool not in POOLS or self.act not in ACTIVATIONS:
            found, known = f"pool {self.pool!r}, act {self.act!r}", f"{', '.join(POOLS)}; {', '.join(ACTIVATIONS)}"
            raise UsageError("a chain", found, f"choose from: {known}")

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width of the images. Raises: UsageError."""
        return image_size(self.size)

    def slots(self) -> tuple[Slot, ...]:
        """The places of the chain, first to last; only the first of a stage has its stride."""
        found = []
        channels, (height, width) = self.stem, (-(-side // self.stem_stride) for side in self.sides)
        for out, repeats, stride in self.stages:
            for index in range(repeats):
                slot = Slot(channels, out, stride if index == 0 else 1, height, width)
                found.append(slot)
                channels, height, width = out, -(-height // slot.stride), -(-width // slot.stride)
        return tuple(found)

    def map_left(self) -> tuple[int, int]:
        """Height and width of the map behind the last layer."""
        last = self.slots()[-1]
        return -(-last.height // last.stride), -(-last.width // last.stride)


class Layer(nn.Module):
    """One choice at one place; a shortcut where the shape stays."""

    def __init__(self, body: nn.Sequential, shortcut: bool) -> None:
        super().__init__()
        self.body, self.shortcut = body, shortcut

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        return x + y if self.shortcut else y


def parse(name: str) -> Choice:
    """Take a choice's name apart. Raises: UsageError for a name that is none."""
    if name == IDENTITY:
        return Choice(IDENTITY)
    found = _NAME.fullmatch(name)
    known = found is not None and found[4] in ACTIVATIONS and int(found[2]) % 2 == 1
    if found is None or not known or (found[1] == "mb" and found[3] is None):
        acts = "|".join(ACTIVATIONS)
        todo = f"write identity, mb-k<3|5|7>-e<1..9>-<{acts}> or conv-k<1|3|5|7>[-e<1..9>]-<{acts}>"
        raise UsageError(f"layer choice {name!r}", "no such choice", todo)
    return Choice(found[1], int(found[2]), int(found[3] or 0), found[4])


def fits(name: str, slot: Slot) -> bool:
    """Whether a choice is possible at a place: identity needs a shape that stays. Raises: UsageError."""
    return parse(name).kind != IDENTITY or slot.keeps_shape


def layer(name: str, slot: Slot) -> nn.Module:
    """The module of a choice at a place. Raises: UsageError for an unknown name, or one that does not fit."""
    choice = parse(name)
    if not fits(name, slot):
        raise UsageError(f"{name} at a layer of shape {slot.shape}", "its shape changes", "choose a convolution there")
    if choice.kind == IDENTITY:
        return nn.Identity()
    ends, padding = (slot.channels_in, slot.channels_out), choice.kernel // 2
    hidden = slot.channels_in * choice.expansion
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    if choice.kind == "mb":
        parts["expand"] = ConvBnAct(ends[0], hidden, act=choice.act)
        parts["depthwise"] = ConvBnAct(hidden, hidden, choice.kernel, slot.stride, padding, hidden, choice.act)
        parts["project"] = ConvBnAct(hidden, ends[1])
    elif choice.expansion:
        parts["expand"] = ConvBnAct(ends[0], hidden, choice.kernel, slot.stride, padding, act=choice.act)
        parts["project"] = ConvBnAct(hidden, ends[1])
    else:
        parts["conv"] = ConvBnAct(*ends, choice.kernel, slot.stride, padding, act=choice.act)
    return Layer(nn.Sequential(parts), slot.keeps_shape)


def assemble(frame: Frame, layers: Iterable[nn.Module], classes: int) -> EmbeddingNet:
    """Stem, the given layers, pool, embedding and head: the same around a search as around what it found."""
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    parts["stem"] = ConvBnAct(3, frame.stem, 3, frame.stem_stride, 1, act=frame.act)
    parts["layers"] = nn.Sequential(*layers)
    parts["expand"] = ConvBnAct(frame.stages[-1][0], frame.last, act=frame.act)
    if frame.pool == "gdconv":
        parts["gdconv"] = ConvBnAct(frame.last, frame.last, frame.map_left(), groups=frame.last)
    else:
        parts["average"] = nn.AdaptiveAvgPool2d(1)
    parts["embedding"] = ConvBnAct(frame.last, frame.embedding)
    return EmbeddingNet(nn.Sequential(parts), frame.embedding, classes)


def chain(frame: Frame, choices: Sequence[str], classes: int = 0, seed: int = 0) -> EmbeddingNet:
    """The net of these choices, one a layer. Raises: UsageError when number, names or shapes do not fit."""
    slots = frame.slots()
    if len(choices) != len(slots):
        raise UsageError(f"a chain of {len(slots)} layers", f"{len(choices)} choices", "give one a layer")
    with seeded(seed):
        return assemble(frame, (layer(name, slot) for name, slot in zip(choices, slots)), classes).eval()


def build(
    choices: Sequence[str] = (),
    frame: Frame | None = None,
    genotype: str | Genotype | None = None,
    classes: int = 0,
    labels: Sequence[str] = (),
    seed: int = 0,
) -> tuple[EmbeddingNet, Card]:
    """Build the net of `choices` in a frame, or the one that a search's genotype (file) describes.

    Raises: UsageError (also for the genotype of another space), MissingResource, DamagedArtifact.
    """
    if genotype is not None:
        if choices or frame is not None:
            raise UsageError("build chain_net", "a genotype and a frame or choices", "the genotype has its own")
        frame, choices = read_chain(load_genotype(Path(genotype)) if isinstance(genotype, str) else genotype)
    frame = frame or Frame()
    net = chain(frame, choices or (REFERENCE,) * len(frame.slots()), classes, seed)
    preprocessing = Preprocessing(frame.sides, (0.5,) * 3, (0.5,) * 3)
    return net, image_card("chain_net", preprocessing, frame.embedding, classes, labels)


def read_chain(genotype: Genotype) -> tuple[Frame, tuple[str, ...]]:
    """The frame and the choices of a genotype. Raises: UsageError for one of another space, DamagedArtifact."""
    if genotype.space != SPACE:
        raise UsageError("build chain_net", f"a genotype of the space {genotype.space!r}", f"give one of {SPACE!r}")
    known = {f.name for f in fields(Frame)}
    frame = records.from_json(Frame, {key: value for key, value in genotype.options.items() if key in known})
    check_genotype(genotype, SPACE, edges_of(frame, genotype.options.get("operations", ())))
    return frame, tuple(genotype.choices[name] for name in edge_names(frame))


def edge_names(frame: Frame) -> tuple[str, ...]:
    """The name of each layer, by which a genotype and a supernet know it."""
    return tuple(f"layer{index:02d}" for index in range(len(frame.slots())))


def edges_of(frame: Frame, operations: Sequence[str]) -> tuple[Edge, ...]:
    """One edge a layer with the operations that fit there. Raises: UsageError when none does."""
    found = []
    for name, slot in zip(edge_names(frame), frame.slots()):
        legal = tuple(operation for operation in operations if fits(operation, slot))
        if not legal:
            todo = "add a convolution to the operations"
            raise UsageError(f"{name} of shape {slot.shape}", f"none of {list(operations)} fits", todo)
        found.append(Edge(name, legal))
    return tuple(found)
