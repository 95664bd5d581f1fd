"""AdaRound: each weight is rounded up or down so that its layer's output changes least, not to the nearest integer.

The expected squared error of an output with weights off by d is d^T E[x x^T] d (equation 13), so one pass that adds up
E[x x^T] of what each layer reads in the quantized net is all that is kept of the data. The bias takes the mean error.
Source: Nagel et al. 2020, arXiv 2004.10568. differs from the paper: layers are learned side by side and not one after
the other; the error is that of equation 13 on all samples instead of batches of rows, in units of the error of nearest
rounding, and the weight of the regularizer is chosen for these units; single weights are turned afterwards where that
lowers the error; an output for which nearest rounding is better on held-out samples keeps it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, fx

from edgesmith.compress.quantize.fake_quant import FakeQuantNet
from edgesmith.errors import UsageError
from edgesmith.graph.naming import operator_name
from edgesmith.graph.operators import constant, groups, is_weighted
from edgesmith.graph.program import Program
from edgesmith.graph.rewrite import planned
from edgesmith.quant import EdgeQuant, QuantPlan

STRETCH = (-0.1, 1.1)  # gamma and zeta of the rectified sigmoid, equation 23
_HELD_OUT = 5  # every fifth sample chooses between learned and nearest rounding
_PIECE = 8  # samples at a time
_WARM = 0.2  # share of the iterations before the regularizer begins
_BETA = (20.0, 2.0)
_LARGEST = 8192  # weights an output; its second moments are 0.5 GB


@dataclass(frozen=True)
class AdaRound:
    """iterations and learning rate (Adam) of each layer; regularizer: its weight; positions: of an image, at most."""

    iterations: int = 500
    lr: float = 0.05
    regularizer: float = 3.0
    positions: int = 64


@dataclass
class _Moments:
    """Sums over what a layer reads. Shape: second (G, d, d), first (G, d)."""

    second: Tensor
    first: Tensor
    count: int = 0

    def add(self, rows: Tensor) -> None:
        self.second += torch.bmm(rows.mT, rows)
        self.first += rows.sum(1)
        self.count += rows.shape[1]

    def mean(self) -> Tensor:
        return self.first / max(self.count, 1)

    def spread(self, centred: bool) -> Tensor:
        mean = self.mean()
        shift = mean.unsqueeze(2) * mean.unsqueeze(1) if centred else 0.0
        return self.second / max(self.count, 1) - shift


def learn_rounding(
    program: Program, plan: QuantPlan, batches: Iterable[tuple[Tensor, ...]], settings: AdaRound = AdaRound()
) -> QuantPlan:
    """The plan with learned rounding of every 2d convolution and linear layer that computes in integers.

    Memory grows with the layers' inputs squared, not with samples. Where the plan corrects biases, they also take the
    mean of what the new weights change. Raises: UsageError for no samples, and for a plan of another program.
    """
    lowered = planned(program, plan)
    layers = _layers(lowered, plan)
    moments = _collect(lowered, plan, layers, batches, settings.positions)
    rounded, shifts = dict[str, np.ndarray](), dict(plan.bias_shifts)
    for path, node in layers.items():
        quant, (learning, held_out) = plan.edges[f"{path}:weight"], moments[path]
        assert isinstance(quant, EdgeQuant)
        left, step = _left(lowered, node, quant)
        up = _better_up(left, learning, held_out, bool(plan.bias_shifts), settings)
        rounded[path] = np.packbits(up.reshape(-1).bool().numpy())
        if plan.bias_shifts:
            more = torch.einsum("god,gd->go", (_nearest(left) - up) * step, learning.mean())
            shifts[path] = more.reshape(-1).double().numpy() + shifts.get(path, np.zeros(()))
    return replace(plan, rounded_up=rounded, bias_shifts=shifts)


def _better_up(left: Tensor, learning: _Moments, held_out: _Moments, centred: bool, settings: AdaRound) -> Tensor:
    """The learned rounding of each output, or the nearest where that is better on what was held out."""
    up, nearest = learned_up(left, learning.spread(centred), settings), _nearest(left)
    judge = (held_out if held_out.count else learning).spread(centred)
    better = _error(up - left, judge) < _error(nearest - left, judge)
    return torch.where(better.unsqueeze(-1), up, nearest)


def learned_up(left: Tensor, spread: Tensor, settings: AdaRound = AdaRound()) -> Tensor:
    """1 where a weight is to be rounded up, 0 where down.

    Shape: left (G, O, d), the weights in steps above the integer below; spread (G, d, d), E[x x^T].
    """
    low, high = STRETCH
    unit = _error(_nearest(left) - left, spread).clamp_min(1e-30)
    v = (-((high - low) / (left.clamp(1e-4, 1 - 1e-4) - low) - 1).log()).requires_grad_(True)
    optimizer = torch.optim.Adam([v], lr=settings.lr)
    for index in range(settings.iterations):
        h = (v.sigmoid() * (high - low) + low).clamp(0, 1)
        loss = (_error(h - left, spread) / unit).sum() * left.shape[-1]
        progress = (index / settings.iterations - _WARM) / (1 - _WARM)
        if progress >= 0:
            beta = _BETA[1] + (_BETA[0] - _BETA[1]) * 0.5 * (1 + math.cos(math.pi * progress))
            loss = loss + settings.regularizer * (1 - (2 * h - 1).abs().pow(beta)).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return _flipped_singly((v.detach().sigmoid() * (high - low) + low >= 0.5).float(), left, spread)


def _flipped_singly(up: Tensor, left: Tensor, spread: Tensor) -> Tensor:
    """Weights rounded the other way, one at a time in order, where that lowers the error; twice."""
    up, slope = up.clone(), (up - left) @ spread
    for index in (*range(left.shape[-1]), *range(left.shape[-1])):
        change = 1 - 2 * up[..., index]
        better = 2 * change * slope[..., index] + spread[:, index, index].unsqueeze(1) < 0
        flip = change * better
        up[..., index] += flip
        slope += flip.unsqueeze(-1) * spread[:, index].unsqueeze(1)
    return up


def _error(off: Tensor, spread: Tensor) -> Tensor:
    """Expected squared error of each output in squared steps. Shape: off (G, O, d), spread (G, d, d) -> (G, O)."""
    return ((off @ spread) * off).sum(-1)


def _nearest(left: Tensor) -> Tensor:
    return left.round()


def _layers(lowered: Program, plan: QuantPlan) -> dict[str, fx.Node]:
    """The layers to be rounded; an operator that cannot be written as rows times a matrix keeps nearest rounding."""
    found = {}
    for path, node in lowered.nodes.items():
        if is_weighted(node) and f"{path}:weight" in plan.edges and operator_name(node) in ("conv2d", "linear"):
            static = len(node.args) < 5 or not isinstance(node.args[4], str)
            if static and constant(lowered.module, node, 1)[0].numel() <= _LARGEST:
                found[path] = node
    return found


def _left(lowered: Program, node: fx.Node, quant: EdgeQuant) -> tuple[Tensor, Tensor]:
    """What rounding decides about: weights in steps above the integer below (G, O / G, d); step sizes (G, O / G, 1)."""
    weight = constant(lowered.module, node, 1).float().flatten(1)
    step = torch.from_numpy(np.broadcast_to(quant.scale, (len(weight),)).astype(np.float32)).unsqueeze(1)
    steps = (weight / step).clamp(quant.spec.qmin, quant.spec.qmax)
    count = groups(node)
    return (steps - steps.floor()).reshape(count, -1, weight.shape[1]), step.reshape(count, -1, 1)


def _collect(
    lowered: Program, plan: QuantPlan, layers: Mapping[str, fx.Node], batches: Iterable[tuple[Tensor, ...]], most: int
) -> dict[str, tuple[_Moments, _Moments]]:
    """Moments of what each layer reads in the quantized net: of the samples to learn from, and of those held out."""
    reader = _Reader(FakeQuantNet(lowered, plan, ()).graph, lowered, layers, most)
    size = _PIECE if lowered.batch_is_symbolic else len(lowered.example[0])
    seen = 0
    with torch.no_grad():
        for batch in batches:
            for piece in zip(*(tensor.split(size) for tensor in batch)):
                held = torch.arange(seen, seen + len(piece[0])) % _HELD_OUT == _HELD_OUT - 1
                seen, reader.held = seen + len(piece[0]), held
                reader.run(*piece)
    if seen == 0:
        raise UsageError("learn the rounding of weights", "no samples", "give a few hundred")
    return reader.moments


class _Reader(fx.Interpreter):
    """Runs the quantized net and adds up the moments of what its layers read."""

    def __init__(self, graph: fx.GraphModule, lowered: Program, layers: Mapping[str, fx.Node], most: int) -> None:
        super().__init__(graph)
        self.most, self.held = most, torch.zeros(0, dtype=torch.bool)
        self.layers = {node.name: path for path, node in layers.items()}
        self.moments = {path: (_empty(lowered, node), _empty(lowered, node)) for path, node in layers.items()}

    def run_node(self, n: fx.Node) -> object:
        if (path := self.layers.get(n.name)) is not None:
            args, _ = self.fetch_args_kwargs_from_env(n)
            for moments, mask in zip(self.moments[path], (~self.held, self.held)):
                if mask.any():
                    moments.add(_rows(args[0][mask], args[1], n, self.most))
        return super().run_node(n)


def _empty(lowered: Program, node: fx.Node) -> _Moments:
    size, count = constant(lowered.module, node, 1)[0].numel(), groups(node)
    return _Moments(torch.zeros(count, size, size), torch.zeros(count, size))


def _rows(x: Tensor, weight: Tensor, node: fx.Node, most: int) -> Tensor:
    """What is multiplied with the weights of an output. Shape: -> (G, rows, d); at most so many positions an image."""
    if operator_name(node) == "linear":
        return x.reshape(1, -1, x.shape[-1])
    options = [*node.args[3:6], *([1, 1], [0, 0], [1, 1])[len(node.args[3:6]) :]]
    stride, padding, dilation = (_pair(option) for option in options)
    columns = F.unfold(x, tuple(weight.shape[2:]), dilation, padding, stride)
    if columns.shape[2] > most:
        spread = torch.Generator().manual_seed(columns.shape[2])
        columns = columns[:, :, torch.randperm(columns.shape[2], generator=spread)[:most]]
    by_group = columns.reshape(len(x), groups(node), -1, columns.shape[2])
    return by_group.permute(1, 0, 3, 2).flatten(1, 2)


def _pair(option: object) -> tuple[int, int]:
    values = list(option) if isinstance(option, (list, tuple)) else [option]
    return int(values[0]), int(values[-1])  # type: ignore[arg-type]
