"""Bias correction measured: one pass through the quantized program, layer by layer, gives every mean back.

At each layer the bias gains what the mean of its output has lost, and the pass goes on with the corrected output: so
what earlier layers, rounded values and clipped ends have shifted is seen too, which the closed form of bias.py cannot.
Source: Nagel et al. 2019, arXiv 1906.04721, appendix D.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from edgesmith.compress.quantize.placement import owner
from edgesmith.compress.quantize.simulate import on_grid
from edgesmith.graph.operators import constant, feeds_output, is_weighted, source
from edgesmith.graph.program import Program
from edgesmith.quant import EdgeQuant, dequantize, quantize

SAMPLES = 100  # more changed nothing
_LARGEST_VALUE = 2**28  # bytes of one value of all samples together


def measured_shifts(
    program: Program,
    rewrites: Mapping[str, str],
    quants: Mapping[str, EdgeQuant | None],
    samples: tuple[Tensor, ...],
) -> dict[str, np.ndarray]:
    """What each quantized layer's bias must gain.

    program: rewritten, with float weights. quants: edge -> its numbers, None for float. samples: a tensor an input; as
    many as memory allows are used, at most `SAMPLES`. What a lowered activation is made of has no bias and gets none.
    """
    layers = {
        node: path
        for path, node in program.nodes.items()
        if is_weighted(node) and quants.get(f"{path}:weight") is not None and owner(path, rewrites) == path
    }
    if not layers:
        return {}
    used = tuple(tensor[: _how_many(program)] for tensor in samples)
    with torch.no_grad():
        exact = _Means(program, layers)
        exact.run(*used)
        rounded = _Corrected(program, layers, quants, exact.found)
        rounded.run(*used)
    return {path: rounded.shifts[node].numpy() for node, path in layers.items()}


class _Means(fx.Interpreter):
    """The float program; keeps the mean of every layer's channels."""

    def __init__(self, program: Program, layers: Mapping[fx.Node, str]) -> None:
        super().__init__(program.module)
        self.layers, self.found = layers, dict[fx.Node, Tensor]()

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if n in self.layers:
            self.found[n] = _channel_means(n, value)
        return value


class _Corrected(fx.Interpreter):
    """The quantized program; gives every layer's channels the mean they had in float, and goes on with that."""

    def __init__(
        self,
        program: Program,
        layers: Mapping[fx.Node, str],
        quants: Mapping[str, EdgeQuant | None],
        wanted: Mapping[fx.Node, Tensor],
    ) -> None:
        super().__init__(program.module)
        self.layers, self.wanted, self.shifts = layers, wanted, dict[fx.Node, Tensor]()
        self.grids = {node: quants.get(edge) for edge, node in program.edges() if not feeds_output(node)}
        self.weights: dict[fx.Node, Tensor] = {}
        for path, node in program.nodes.items():
            quant = quants.get(f"{path}:weight") if is_weighted(node) else None
            if quant is not None:
                weight = constant(program.module, node, 1).numpy()
                self.weights[source(node, 1)] = torch.from_numpy(dequantize(quantize(weight, quant), quant))

    def run_node(self, n: fx.Node) -> Any:
        if n in self.weights:
            return self.weights[n]
        value = super().run_node(n)
        if n in self.layers:
            self.shifts[n] = self.wanted[n] - _channel_means(n, value)
            value = value + self.shifts[n].float().reshape(_over_channels(n, value))
        return on_grid(value, self.grids.get(n))


def _over_channels(layer: fx.Node, value: Tensor) -> list[int]:
    """The shape in which one number a channel is added to a layer's output: axis 1 of a map, else the last."""
    shape = [1] * value.dim()
    shape[1 if source(layer, 1).meta["val"].dim() > 2 else -1] = -1
    return shape


def _channel_means(layer: fx.Node, value: Tensor) -> Tensor:
    axis = _over_channels(layer, value).index(-1)
    return value.transpose(axis, -1).reshape(-1, value.shape[axis]).double().mean(0)


def _how_many(program: Program) -> int:
    """How many samples' largest values fit into `_LARGEST_VALUE` bytes together."""
    sizes = [int(np.prod([int(s) for s in node.meta["val"].shape[1:]])) for _, node in program.edges()]
    return max(1, min(SAMPLES, _LARGEST_VALUE // (4 * max(sizes, default=1))))
