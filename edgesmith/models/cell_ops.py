"""Operations of cell-based search spaces, and the cell: a small graph that is repeated through a network.

Source: Liu et al. 2019 (DARTS), section 2.1 and appendix A.1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Kind = Literal["normal", "reduce"]
INPUTS, NODES = 2, 4  # a cell's inputs are the outputs of the two cells before it


class Zero(nn.Module):
    """No connection: zeros of the shape that the other operations give."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x[:, :, :: self.stride, :: self.stride])


class ReluConvBn(nn.Module):
    """ReLU, 1x1 convolution, batch norm."""

    def __init__(self, channels_in: int, channels_out: int, affine: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, 1, bias=False)
        self.bn = nn.BatchNorm2d(channels_out, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(F.relu(x)))


class FactorizedReduce(nn.Module):
    """Half the size by two 1x1 convolutions of stride 2, the second one pixel further; a border of zeros if odd."""

    def __init__(self, channels_in: int, channels_out: int, affine: bool) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels_in, channels_out // 2, 1, 2, bias=False)
        self.second = nn.Conv2d(channels_in, channels_out - channels_out // 2, 1, 2, bias=False)
        self.bn = nn.BatchNorm2d(channels_out, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(x)
        height, width = x.shape[-2] % 2, x.shape[-1] % 2
        shifted = (F.pad(x, (0, width, 0, height)) if height or width else x)[:, :, 1:, 1:]
        return self.bn(torch.cat([self.first(x), self.second(shifted)], 1))


def separable(channels: int, kernel: int, stride: int, dilation: int, affine: bool) -> list[nn.Module]:
    """ReLU, depthwise and pointwise convolution, batch norm."""
    padding = dilation * (kernel // 2)
    return [
        nn.ReLU(),
        nn.Conv2d(channels, channels, kernel, stride, padding, dilation, groups=channels, bias=False),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels, affine=affine),
    ]


def _separable_twice(kernel: int) -> Callable[[int, int, bool], nn.Module]:
    return lambda channels, stride, affine: nn.Sequential(
        *separable(channels, kernel, stride, 1, affine), *separable(channels, kernel, 1, 1, affine)
    )


def _dilated(kernel: int) -> Callable[[int, int, bool], nn.Module]:
    return lambda channels, stride, affine: nn.Sequential(*separable(channels, kernel, stride, 2, affine))


def _skip(channels: int, stride: int, affine: bool) -> nn.Module:
    return nn.Identity() if stride == 1 else FactorizedReduce(channels, channels, affine)


# Name -> (channels, stride, affine batch norm) -> module.
OPERATIONS: dict[str, Callable[[int, int, bool], nn.Module]] = {
    "sep3": _separable_twice(3),
    "sep5": _separable_twice(5),
    "dil3": _dilated(3),
    "dil5": _dilated(5),
    "max3": lambda channels, stride, affine: nn.MaxPool2d(3, stride, 1),
    "avg3": lambda channels, stride, affine: nn.AvgPool2d(3, stride, 1, count_include_pad=False),
    "skip": _skip,
    "none": lambda channels, stride, affine: Zero(stride),
}


def edge_name(kind: Kind, source: int, node: int) -> str:
    """The edge of a cell type from a source (0, 1: the inputs) to a node (2 to 5)."""
    return f"{kind}_{source}_{node}"


def sources(kind: Kind) -> dict[str, tuple[str, ...]]:
    """Node -> all edges that may lead to it, in the order of their sources."""
    nodes = range(INPUTS, INPUTS + NODES)
    return {f"{kind}_{node}": tuple(edge_name(kind, source, node) for source in range(node)) for node in nodes}


@dataclass(frozen=True)
class Place:
    """Where a cell stands: channels of its two inputs and its own, and whether the cell before halved the size."""

    kind: Kind
    before: int
    previous: int
    channels: int
    after_reduction: bool


def places(cells: int, stem: tuple[int, int], channels: int, after_reduction: bool) -> list[Place]:
    """The cells of a network, with reductions that double the channels at 1/3 and 2/3 of the depth."""
    made, (before, previous) = [], stem
    for index in range(cells):
        reduces = index in (cells // 3, 2 * cells // 3)
        channels *= 2 if reduces else 1
        made.append(Place("reduce" if reduces else "normal", before, previous, channels, after_reduction))
        before, previous, after_reduction = previous, NODES * channels, reduces
    return made


class Cell(nn.Module):
    """Nodes that sum what their edges give; the output is all nodes side by side.

    `make` gives the module of an edge: (edge, channels, stride). `inputs` maps each node to its edges. drop_path is
    the share of samples whose edge is dropped in training; identities are spared.
    """

    def __init__(
        self,
        place: Place,
        inputs: Mapping[str, Sequence[str]],
        make: Callable[[str, int, int], nn.Module],
        affine: bool = True,
    ) -> None:
        super().__init__()
        reduce_first = FactorizedReduce if place.after_reduction else ReluConvBn
        self.first = reduce_first(place.before, place.channels, affine)
        self.second = ReluConvBn(place.previous, place.channels, affine)
        self.inputs = {node: tuple(names) for node, names in inputs.items() if node.startswith(place.kind)}
        self.edges = nn.ModuleDict()
        for edge in (edge for names in self.inputs.values() for edge in names):
            halves = place.kind == "reduce" and _source(edge) < INPUTS
            self.edges[edge] = make(edge, place.channels, 2 if halves else 1)
        self.drop_path = 0.0

    def forward(self, before: Tensor, previous: Tensor, weights: Mapping[str, Tensor | None] | None = None) -> Tensor:
        """`weights` are of a supernet's edges (those not in it are not run), None in a network."""
        states = [self.first(before), self.second(previous)]
        for names in self.inputs.values():
            terms = [self._edge(e, states[_source(e)], weights) for e in names if weights is None or e in weights]
            states.append(sum(terms[1:], terms[0]))
        return torch.cat(states[INPUTS:], 1)

    def _edge(self, edge: str, x: Tensor, weights: Mapping[str, Tensor | None] | None) -> Tensor:
        module = self.edges[edge]
        output = module(x) if weights is None else module(x, weights=weights[edge])
        if self.training and self.drop_path > 0 and not isinstance(module, nn.Identity):
            keep = 1 - self.drop_path
            output = output * (torch.rand(len(x), 1, 1, 1, device=x.device) < keep) / keep
        return output


def _source(edge: str) -> int:
    return int(edge.split("_")[1])
