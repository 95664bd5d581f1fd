"""Calibration: one pass over the folded original program, per-channel ranges and means of every float value."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor, fx

from edgesmith.errors import UsageError
from edgesmith.graph.operators import constant, is_weighted
from edgesmith.graph.program import Program
from edgesmith.graph.rewrite import simplify
from edgesmith.quant import EdgeRange, RangeRecord

Batch = tuple[Tensor, ...]
_PIECE = 8  # samples at a time: a large batch falls out of the processor's cache and takes twice as long


def observe(program: Program, batches: Iterable[Batch], data_digest: str = "") -> RangeRecord:
    """Ranges of all values and weights from one pass over `batches`.

    Batches are tuples of tensors in the order of program.inputs; memory grows with channels, not with samples.
    Raises: UsageError for no samples, a shape that does not fit, or a layer whose values are not finite.
    """
    folded = simplify(program)
    watcher = _Watcher(folded)
    samples = 0
    with torch.no_grad():
        for batch in batches:
            samples += len(batch[0]) if batch else 0
            for piece in _fitting(folded, batch):
                watcher.run(*piece)
    if samples == 0:
        raise UsageError("calibrate", "no samples", "give at least one, better a few hundred")
    return RangeRecord({**watcher.record(), **weight_ranges(folded)}, samples, data_digest)


def weight_ranges(program: Program) -> dict[str, EdgeRange]:
    """Ranges of every weight per output channel (axis 0)."""
    found = {}
    for path, node in program.nodes.items():
        if is_weighted(node):
            rows = constant(program.module, node, 1).flatten(1)
            found[f"{path}:weight"] = EdgeRange(rows.amin(1).float().numpy(), rows.amax(1).float().numpy())
    return found


class _Watcher(fx.Interpreter):
    """Runs the graph node by node; values die as soon as they are used up."""

    def __init__(self, program: Program) -> None:
        super().__init__(program.module)
        self.edges = {node.name: edge for edge, node in program.edges()}
        self.ranges: dict[str, tuple[Tensor, Tensor]] = {}
        self.sums: dict[str, tuple[Tensor, int]] = {}

    def run_node(self, n: fx.Node) -> object:
        value = super().run_node(n)
        if n.name in self.edges:
            self._see(self.edges[n.name], value if _has_channels(n) else value.flatten())
        return value

    def _see(self, edge: str, value: Tensor) -> None:
        low, high = _extremes(value)
        if not bool(torch.isfinite(low).all() and torch.isfinite(high).all()):
            raise UsageError(
                f"calibrate {edge.removesuffix(':out')}",
                "its values are not finite",
                "look for NaN in the weights or the calibration data",
            )
        if edge in self.ranges:
            old = self.ranges[edge]
            low, high = torch.minimum(low, old[0]), torch.maximum(high, old[1])
        self.ranges[edge] = low, high
        total, count = _total(value)
        before = self.sums.get(edge, (torch.zeros_like(total), 0))
        self.sums[edge] = before[0] + total, before[1] + count

    def record(self) -> dict[str, EdgeRange]:
        means = {edge: _numpy(total / count) for edge, (total, count) in self.sums.items()}
        return {edge: EdgeRange(_numpy(low), _numpy(high), means[edge]) for edge, (low, high) in self.ranges.items()}


def _has_channels(node: fx.Node) -> bool:
    """Whether axis 1 counts channels; in attention it may be the batch."""
    shape = node.meta["val"].shape
    return len(shape) > 1 and isinstance(shape[1], int)


def _extremes(value: Tensor) -> tuple[Tensor, Tensor]:
    """Smallest and largest value of each channel. Shape: (N, C, ...) -> (C,); fewer axes -> (1,)."""
    if value.dim() < 2:
        return value.min().reshape(1), value.max().reshape(1)
    rows = value.flatten(2) if value.dim() > 2 else value.unsqueeze(2)  # one axis at a time is several times faster
    return rows.amin(2).amin(0), rows.amax(2).amax(0)


def _total(value: Tensor) -> tuple[Tensor, int]:
    """Sum of each channel and the number of its values, as `_extremes` takes channels."""
    if value.dim() < 2:
        return value.double().sum().reshape(1), value.numel()
    rows = value.flatten(2) if value.dim() > 2 else value.unsqueeze(2)
    return rows.sum(2).double().sum(0), rows.shape[0] * rows.shape[2]


def _numpy(tensor: Tensor) -> np.ndarray:
    return tensor.float().numpy().copy()


def _fitting(program: Program, batch: Batch) -> Iterator[Batch]:
    """The batch in small pieces, or in pieces of the size that a program with a static batch wants."""
    if len(batch) != len(program.inputs):
        found = f"a batch of {len(batch)} tensors"
        raise UsageError(f"calibrate with {len(program.inputs)} inputs", found, "give every input a tensor")
    for spec, tensor in zip(program.inputs, batch):
        if tuple(tensor.shape[1:]) != tuple(spec.shape[1:]):
            raise UsageError(f"calibrate input {spec.name!r} {spec.shape}", f"got {tuple(tensor.shape)}", "resize it")
    size = _PIECE if program.batch_is_symbolic else len(program.example[0])
    if not program.batch_is_symbolic and len(batch[0]) % size:
        raise UsageError("calibrate", f"a batch of {len(batch[0])} for a model of batch {size}", "give whole batches")
    yield from (tuple(part) for part in zip(*(tensor.split(size) for tensor in batch)))
