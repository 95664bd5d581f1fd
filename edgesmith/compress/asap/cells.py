"""The cell space: a normal and a reduction cell, repeated; each edge of a cell has one of eight operations.

Source: Liu et al. 2019 (DARTS); its edges carry the search of Noy et al. 2019 (ASAP).
"""

from __future__ import annotations

import copy
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from torch import Tensor, nn

from edgesmith.compress.asap.anneal import settle
from edgesmith.compress.asap.architecture import Architecture
from edgesmith.compress.asap.mixed_op import MixedOp
from edgesmith.compress.asap.space import Space, architecture_of
from edgesmith.errors import UsageError
from edgesmith.models.asap_net import SPACE, STEM, CellNet, CifarStem, all_edges, cell_network
from edgesmith.models.cell_ops import NODES, OPERATIONS, Cell, places, sources
from edgesmith.models.genotype import Edge, Genotype
from edgesmith.models.layers import seeded

WITHOUT_NONE = tuple(name for name in OPERATIONS if name != "none")
KEEP = 2  # inputs of a node
Inputs = Literal["gates", "top2"]


@dataclass(frozen=True)
class CellSpace:
    """Cells with these operations; `channels`, `cells` and `size` are those of the supernet.

    inputs: "gates" anneals and prunes the inputs of each node, too; "top2" picks the two with the largest alphas at
    the end. affine: batch norms of the supernet have scale and shift; without them no operation can make itself
    louder. Raises: UsageError.
    """

    classes: int
    channels: int = 16
    cells: int = 8
    operations: tuple[str, ...] = WITHOUT_NONE
    inputs: Inputs = "gates"
    affine: bool = False
    channels_in: int = 3
    seed: int = 0
    name: str = field(default=SPACE, init=False)
    skips: tuple[str, ...] = field(default=("skip",), init=False)

    def __post_init__(self) -> None:
        unknown = [name for name in self.operations if name not in OPERATIONS]
        if unknown or not set(self.operations) - {"none"}:
            found, todo = f"operations {list(self.operations)}", f"choose some of {', '.join(OPERATIONS)}"
            raise UsageError("a cell space", found, todo)
        if self.classes < 2 or self.cells < 3 or self.channels < 2 or self.inputs not in get_args(Inputs):
            found = f"classes {self.classes}, cells {self.cells}, channels {self.channels}, inputs {self.inputs!r}"
            todo = f"give 2 classes, 3 cells, 2 channels or more, and inputs {get_args(Inputs)}"
            raise UsageError("a cell space", found, todo)

    @property
    def options(self) -> Mapping[str, Any]:
        """What a genotype says of its space."""
        return {"operations": list(self.operations)}

    @property
    def edges(self) -> tuple[Edge, ...]:
        """14 edges of each of the two cell types."""
        return all_edges(self.operations)

    def supernet(self) -> CellSupernet:
        """A supernet with all operations alive."""
        with seeded(self.seed):
            return CellSupernet(self)

    def network(
        self, genotype: Genotype, channels: int | None = None, cells: int | None = None, auxiliary: bool = False
    ) -> CellNet:
        """A genotype's network, by default as deep and wide as the supernet. Raises: UsageError, DamagedArtifact."""
        with seeded(self.seed):
            return cell_network(
                genotype, channels or self.channels, cells or self.cells, self.classes, "cifar", auxiliary,
                self.channels_in,
            )  # fmt: skip

    def read(self, supernet: nn.Module) -> Genotype:
        """The strongest operations and inputs alive; on a decided supernet, those that are left."""
        architecture = copy.deepcopy(architecture_of(supernet))
        settle(architecture, never=("none",))
        choices = {edge: alive[0] for edge, alive in architecture.operations.items() if alive}
        return Genotype(self.name, self.options, choices, dict(architecture.inputs))

    def random(self, seed: int) -> Genotype:
        """Two random inputs a node, a random operation each."""
        draw = random.Random(seed)
        candidates = sources("normal") | sources("reduce")
        inputs = {node: tuple(sorted(draw.sample(names, KEEP))) for node, names in candidates.items()}
        operations = [name for name in self.operations if name != "none"]
        choices = {edge: draw.choice(operations) for names in inputs.values() for edge in names}
        return Genotype(self.name, self.options, choices, inputs)


class CellSupernet(nn.Module):
    """All networks of a cell space at once. Shape: pictures (N, channels_in, H, W) -> logits (N, classes)."""

    def __init__(self, space: CellSpace) -> None:
        super().__init__()
        self.space = space
        nodes = sources("normal") | sources("reduce")
        self.architecture = Architecture(space.edges, nodes, KEEP, gated=space.inputs == "gates")
        width = STEM * space.channels
        self.stem = CifarStem(width, space.channels_in)

        def make(edge: str, channels: int, stride: int) -> MixedOp:
            made = {name: OPERATIONS[name](channels, stride, space.affine) for name in space.operations}
            return MixedOp(edge, made, dropout_on=space.skips)

        rows = places(space.cells, (width, width), space.channels, after_reduction=False)
        self.cells = nn.ModuleList(Cell(row, nodes, make, space.affine) for row in rows)
        self.head = nn.Linear(NODES * rows[-1].channels, space.classes)

    def embed(self, x: Tensor) -> Tensor:
        weights = self.architecture.weights()
        before, previous = self.stem(x)
        for cell in self.cells:
            before, previous = previous, cell(before, previous, weights)
        return previous.mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.embed(x))


def cells(
    classes: int,
    channels: int = 16,
    cells: int = 8,
    operations: Sequence[str] = WITHOUT_NONE,
    inputs: Inputs = "gates",
    affine: bool = False,
    channels_in: int = 3,
    seed: int = 0,
) -> Space:
    """The space by name and options. Raises: UsageError."""
    return CellSpace(classes, channels, cells, tuple(operations), inputs, affine, channels_in, seed)
