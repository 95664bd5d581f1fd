"""The chain space: one choice a layer for nets shaped like MobileNet and MobileFaceNet, each edge with one input.

Source: ours; the rule that anneals and prunes is that of Noy et al. 2019, arXiv 1904.04123.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from edgesmith.compress.asap.anneal import settle
from edgesmith.compress.asap.architecture import Architecture
from edgesmith.compress.asap.mixed_op import MixedOp
from edgesmith.compress.asap.space import architecture_of
from edgesmith.errors import UsageError
from edgesmith.models.chain_net import IDENTITY, SPACE, Frame, assemble, chain, edges_of, layer, read_chain
from edgesmith.models.count import count_macs
from edgesmith.models.genotype import Edge, Genotype
from edgesmith.models.layers import EmbeddingNet, seeded
from edgesmith.records import to_json

OPERATIONS = ("mb-k3-e2-relu", "mb-k3-e4-relu", "mb-k5-e2-relu", "mb-k5-e4-relu", "conv-k3-relu", IDENTITY)


class ChainSupernet(nn.Module):
    """The chain with a mixed operation in the place of each layer. Shape: images (N, 3, H, W) -> as EmbeddingNet."""

    def __init__(self, space: ChainSpace, net: EmbeddingNet) -> None:
        super().__init__()
        self.space, self.architecture = space, Architecture(space.edges)
        self.body, self.head = net.body, net.head

    def embed(self, x: Tensor) -> Tensor:
        weights = self.architecture.weights()
        for name, part in self.body.named_children():
            if name == "layers":
                for mixed in part.children():
                    x = mixed(x, weights=weights[str(mixed.edge)])
            else:
                x = part(x)
        return x.flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        z = self.embed(x)
        return z if self.head is None else self.head(z)


@dataclass(frozen=True)
class ChainSpace:
    """All chains of a frame; a layer has those of `operations` that fit there."""

    frame: Frame
    operations: tuple[str, ...]
    classes: int
    seed: int = 0

    name = SPACE
    skips = (IDENTITY,)

    @property
    def options(self) -> Mapping[str, Any]:
        """Frame and operations, as a genotype keeps them."""
        return {**asdict(self.frame), "operations": list(self.operations)}

    @property
    def edges(self) -> tuple[Edge, ...]:
        return edges_of(self.frame, self.operations)

    def supernet(self) -> ChainSupernet:
        """Every operation at every layer, with seeded weights."""
        with seeded(self.seed):
            mixed = [
                MixedOp(edge.name, {name: layer(name, slot) for name in edge.operations}, self.skips)
                for edge, slot in zip(self.edges, self.frame.slots())
            ]
            return ChainSupernet(self, assemble(self.frame, mixed, self.classes))

    def network(self, genotype: Genotype) -> EmbeddingNet:
        """The chain of a genotype. Raises: UsageError for one of another space, DamagedArtifact."""
        frame, choices = read_chain(genotype)
        if to_json(frame) != to_json(self.frame) or not set(choices) <= set(self.operations):
            found = f"it was searched with {dict(genotype.options)}"
            raise UsageError("build a genotype's network", found, "give one of this frame and these operations")
        return chain(self.frame, choices, self.classes, self.seed)

    def read(self, supernet: nn.Module) -> Genotype:
        """The choices of a supernet: the operation that is left, or the one with the largest weight."""
        architecture = copy.deepcopy(architecture_of(supernet))
        settle(architecture)
        return self.of({edge: alive[0] for edge, alive in architecture.operations.items()})

    def random(self, seed: int) -> Genotype:
        """A member of the space, each choice with equal chance."""
        draw = random.Random(seed)
        return self.of({edge.name: draw.choice(edge.operations) for edge in self.edges})

    def of(self, choices: Mapping[str, str]) -> Genotype:
        """The genotype of these choices."""
        return Genotype(self.name, self.options, dict(choices))

    def shape(self, edge: str) -> str:
        """What the cost of an operation on an edge depends on: edges of one shape share what was measured."""
        return next(s.shape for e, s in zip(self.edges, self.frame.slots()) if e.name == edge)

    def macs(self, edge: str, operation: str) -> int:
        """Multiply-accumulates of an operation on an edge, for one image."""
        slot = next(s for e, s in zip(self.edges, self.frame.slots()) if e.name == edge)
        module = layer(operation, slot)
        return count_macs(module, torch.zeros(1, slot.channels_in, slot.height, slot.width))


def chain_space(
    classes: int, frame: Frame | None = None, operations: Sequence[str] = OPERATIONS, seed: int = 0
) -> ChainSpace:
    """The chain space of a recipe. Raises: UsageError for unknown or repeated operations, or a layer that none fits."""
    made = ChainSpace(frame or Frame(), tuple(operations), classes, seed)
    if len(set(operations)) < len(operations) or not made.edges:
        raise UsageError("a chain space", f"operations {list(operations)}", "give each once")
    return made
