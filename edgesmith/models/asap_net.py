"""The network of a cell genotype, for pictures of CIFAR's size or of ImageNet's; the published ASAP cell by name.

Source: Noy et al. 2019 (ASAP), arXiv 1904.04123, and Liu et al. 2019 (DARTS) for the networks around the cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from torch import Tensor, nn

from edgesmith.errors import UsageError
from edgesmith.models.card import Card, image_card, image_size
from edgesmith.models.cell_ops import NODES, OPERATIONS, Cell, Kind, Place, edge_name, places, sources
from edgesmith.models.genotype import Edge, Genotype, check_genotype, load_genotype
from edgesmith.models.layers import seeded
from edgesmith.models.weights import load_strict, read_weights
from edgesmith.tensors import Preprocessing

SPACE = "cells"
STEM = 3  # the stem of a CIFAR network has so many times a cell's channels
Layout = Literal["cifar", "imagenet"]
MEANS = {
    "cifar": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
# Operation and source, twice a node: the cell of the paper's figure.
_ASAP: dict[Kind, str] = {
    "normal": "sep3 0 sep3 1  skip 0 sep3 1  skip 0 skip 2  skip 1 skip 2",
    "reduce": "avg3 0 sep3 1  avg3 0 dil5 2  max3 1 skip 2  max3 0 skip 2",
}


def parse_cells(cells: dict[Kind, str]) -> Genotype:
    """A genotype from "operation source" pairs, two a node, for each cell type."""
    choices: dict[str, str] = {}
    inputs: dict[str, tuple[str, ...]] = {}
    for kind, text in cells.items():
        words = text.split()
        pairs = list(zip(words[::2], words[1::2]))
        for index, node in enumerate(range(2, 2 + NODES)):
            edges = {edge_name(kind, int(source), node): op for op, source in pairs[2 * index : 2 * index + 2]}
            choices |= edges
            inputs[f"{kind}_{node}"] = tuple(edges)
    return Genotype(SPACE, {}, choices, inputs)


GENOTYPES = {"asap": parse_cells(_ASAP)}


class CellNet(nn.Module):
    """Stem, cells, global average pooling, linear head; in training an auxiliary head at 2/3 of the depth."""

    def __init__(self, stem: nn.Module, cells: Sequence[Cell], embedding: int, classes: int) -> None:
        super().__init__()
        self.stem, self.cells, self.embedding = stem, nn.ModuleList(cells), embedding
        self.head = nn.Linear(embedding, classes) if classes else None
        self.auxiliary: nn.Module | None = None

    def embed(self, x: Tensor) -> Tensor:
        return self._maps(x)[-1].mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        z = self.embed(x)
        return z if self.head is None else self.head(z)

    def with_auxiliary(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the head and of the auxiliary head. Raises: UsageError when it has none."""
        if self.auxiliary is None or self.head is None:
            raise UsageError("train with an auxiliary head", "the net has none", "build it with auxiliary: true")
        maps = self._maps(x)
        return self.head(maps[-1].mean((2, 3))), self.auxiliary(maps[2 * len(maps) // 3])

    def set_drop_path(self, rate: float) -> None:
        """The share of samples whose edges are dropped in training, from now on."""
        for cell in self.cells:
            cell.drop_path = rate  # type: ignore[assignment]

    def _maps(self, x: Tensor) -> list[Tensor]:
        before, previous = self.stem(x)
        maps = []
        for cell in self.cells:
            before, previous = previous, cell(before, previous)
            maps.append(previous)
        return maps


class CifarStem(nn.Module):
    """One 3x3 convolution; both inputs of the first cell are its output."""

    def __init__(self, channels: int, channels_in: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.bn(self.conv(x))
        return y, y


class ImagenetStem(nn.Module):
    """Three 3x3 convolutions of stride 2; the first cell sees the outputs of the second and the third."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.first = nn.Sequential(
            nn.Conv2d(3, half, 3, 2, 1, bias=False),
            nn.BatchNorm2d(half),
            nn.ReLU(),
            nn.Conv2d(half, channels, 3, 2, 1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.second = nn.Sequential(
            nn.ReLU(), nn.Conv2d(channels, channels, 3, 2, 1, bias=False), nn.BatchNorm2d(channels)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.first(x)
        return y, self.second(y)


class Auxiliary(nn.Module):
    """A second classifier on an earlier map. The map is pooled to 2x2 whatever its size."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.pool = nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(2))
        self.body = nn.Sequential(
            nn.Conv2d(channels, 128, 1, bias=False),
            nn.BatchNorm2d(128),
            nn.ReLU(),
            nn.Conv2d(128, 768, 2, bias=False),
            nn.BatchNorm2d(768),
            nn.ReLU(),
        )
        self.head = nn.Linear(768, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(self.pool(x)).flatten(1))


def cell_network(
    genotype: Genotype,
    channels: int,
    cells: int,
    classes: int,
    layout: Layout = "cifar",
    auxiliary: bool = False,
    channels_in: int = 3,
) -> CellNet:
    """The network of a genotype, with torch's default initial weights. Raises: UsageError, DamagedArtifact."""
    check_genotype(genotype, SPACE, all_edges(), sources("normal") | sources("reduce"))
    if channels < 2 or cells < 3 or layout not in get_args(Layout):
        found = f"channels {channels}, cells {cells}, layout {layout!r}"
        raise UsageError("a network of cells", found, f"give 2 channels, 3 cells or more, layout {get_args(Layout)}")
    big = layout == "imagenet"
    width = channels if big else STEM * channels
    stem = ImagenetStem(channels) if big else CifarStem(width, channels_in)
    kept = genotype.kept()

    def make(edge: str, width: int, stride: int) -> nn.Module:
        return OPERATIONS[kept[edge]](width, stride, True)

    rows: list[Place] = places(cells, (width, width), channels, after_reduction=big)
    net = CellNet(stem, [Cell(row, genotype.inputs, make) for row in rows], NODES * rows[-1].channels, classes)
    if auxiliary and classes:
        net.auxiliary = Auxiliary(NODES * rows[2 * cells // 3].channels, classes)
    return net


def all_edges(operations: Sequence[str] = tuple(OPERATIONS)) -> tuple[Edge, ...]:
    """The 14 edges of each cell type with these operations."""
    kinds: tuple[Kind, ...] = ("normal", "reduce")
    return tuple(
        Edge(edge, tuple(operations), kind) for kind in kinds for names in sources(kind).values() for edge in names
    )


def build(
    genotype: str = "asap",
    channels: int = 36,
    cells: int = 20,
    layout: Layout = "cifar",
    classes: int = 10,
    size: int | Sequence[int] | None = None,
    auxiliary: bool = False,
    weights: str | None = None,
    labels: Sequence[str] = (),
    seed: int = 0,
    trust_pickle: bool = False,
) -> tuple[CellNet, Card]:
    """Build the network of a genotype file, or of the published cell ("asap").

    ASAP's small, medium and large CIFAR networks have 36, 44 and 56 channels; its ImageNet network is layout
    "imagenet", 56 channels, 14 cells. Raises: UsageError, MissingResource, UntrustedFile, DamagedArtifact.
    """
    chosen = GENOTYPES[genotype] if genotype in GENOTYPES else load_genotype(Path(genotype))
    with seeded(seed):
        net = cell_network(chosen, channels, cells, classes, layout, auxiliary)
    if weights:
        spare = [key for key in net.state_dict() if key.startswith("auxiliary.")]
        load_strict(net, read_weights(weights, trust_pickle), weights, optional=spare)
    mean, std = MEANS[layout]
    side = image_size((32 if layout == "cifar" else 224) if size is None else size)
    card = image_card(f"{genotype}-{channels}", Preprocessing(side, mean, std), net.embedding, classes, labels)
    return net.eval(), card
