"""Calibration: one pass over the folded original program sees every float value: ranges, means and histograms."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor, fx

from edgesmith.compress.quantize.histogram import Running
from edgesmith.compress.quantize.ranges import check_record, weight_ranges
from edgesmith.errors import UsageError
from edgesmith.graph.operators import channel_axis
from edgesmith.graph.program import Program
from edgesmith.graph.rewrite import simplify
from edgesmith.quant import EdgeRange, RangeRecord

Batch = tuple[Tensor, ...]
_PIECE = 8  # samples at a time: a large batch falls out of the processor's cache and takes twice as long
CHANNEL_BINS, TENSOR_BINS = 128, 32768
# Histograms take so many values of one sample of an edge, evenly spread, but at least so many of each channel; ranges
# and means take all. More makes no scale better and costs as much as the model itself.
SAMPLE_VALUES, CHANNEL_VALUES, TENSOR_VALUES = 4096, 16, 2048
_TOGETHER = 64  # samples whose values are sorted in at once: about 1 MB an edge waits
_SHORT = 100  # rows shorter than this are reduced faster the other way about


def observe(
    program: Program, batches: Iterable[Batch], data_digest: str = "", before: RangeRecord | None = None
) -> RangeRecord:
    """Ranges, means and histograms of all values, and ranges of the weights, from one pass over `batches`.

    Batches are tuples of tensors in the order of program.inputs; memory grows with channels, not with samples.
    before: what earlier samples gave; with it the record is that of all samples together. Counts and ranges are the
    same as those of one pass, whatever the order of the samples; means differ by the rounding of float64 sums.
    Raises: UsageError for no samples, a shape that does not fit, a layer whose values are not finite, or a record
    of another model.
    """
    folded = simplify(program)
    watcher = _Watcher(folded, before)
    samples = before.samples if before else 0
    with torch.no_grad():
        for batch in batches:
            samples += len(batch[0]) if batch else 0
            for piece in _fitting(folded, batch):
                watcher.see(piece)
    if samples == 0:
        raise UsageError("calibrate", "no samples", "give at least one, better a few hundred")
    return RangeRecord({**watcher.record(), **weight_ranges(folded)}, samples, data_digest)


class _Watcher(fx.Interpreter):
    """Runs the graph node by node; values die as soon as they are used up."""

    def __init__(self, program: Program, before: RangeRecord | None) -> None:
        super().__init__(program.module)
        if before:
            check_record(program, before)
        self.edges = {node.name: edge for edge, node in program.edges()}
        self.seen = {edge: _Seen.resumed(edge, before) for edge in self.edges.values()} if before else {}

    def see(self, batch: Batch) -> None:
        """Run one batch. Raises: UsageError for one that the model itself fails on."""
        try:
            self.run(*batch)
        except (IndexError, RuntimeError, TypeError, ValueError) as error:
            found = f"the model itself fails on them: {type(error).__name__}: {str(error).splitlines()[0]}"
            raise UsageError("calibrate with these samples", found, "give samples that the model takes") from error

    def run_node(self, n: fx.Node) -> object:
        value = super().run_node(n)
        if n.name in self.edges:
            self._see(self.edges[n.name], _rows(value, n))
        return value

    def _see(self, edge: str, rows: Tensor) -> None:
        if edge not in self.seen:
            self.seen[edge] = _Seen(rows.shape[1])
        if not self.seen[edge].add(rows):
            raise UsageError(
                f"calibrate {edge.removesuffix(':out')}",
                "its values are not finite",
                "look for NaN in the weights or the calibration data",
            )

    def record(self) -> dict[str, EdgeRange]:
        return {edge: seen.record() for edge, seen in self.seen.items()}


class _Seen:
    """What one edge has shown so far. Shape: (C,)."""

    def __init__(self, channels: int) -> None:
        self.low, self.high = torch.full((channels,), torch.inf), torch.full((channels,), -torch.inf)
        self.total, self.count = torch.zeros(channels, dtype=torch.float64), 0
        self.channels = Running(channels, CHANNEL_BINS)
        self.tensor = Running(1, TENSOR_BINS)
        self.waiting: list[Tensor] = []

    @classmethod
    def resumed(cls, edge: str, record: RangeRecord) -> _Seen:
        """Go on from a record. Raises: UsageError where it does not have the edge, or no histogram of it."""
        before = record.edges.get(edge)
        if before is None or before.mean is None or before.channels is None or before.tensor is None:
            found = "the record does not have it, or no histogram of it"
            raise UsageError(f"go on calibrating {edge}", found, "calibrate this model from the start")
        seen = cls(len(before.low))
        seen.low, seen.high = _float32(before.low), _float32(before.high)
        seen.count, seen.total = before.seen, torch.from_numpy(before.mean * float(before.seen))
        seen.channels = Running.resumed(before.channels, before.low, before.high)
        seen.tensor = Running.resumed(before.tensor, before.low.min(keepdims=True), before.high.max(keepdims=True))
        return seen

    def add(self, rows: Tensor) -> bool:
        """Take values. Shape: (N, C, L). Answers whether all are finite."""
        first, second = (0, 1) if rows.shape[2] < _SHORT else (2, 0)
        low, high = rows.amin(first).amin(second), rows.amax(first).amax(second)
        if not math.isfinite(float((high - low).sum())):
            return False
        self.low, self.high = torch.minimum(self.low, low), torch.maximum(self.high, high)
        self.total += rows.sum(2).double().sum(0)
        self.count += rows.shape[0] * rows.shape[2]
        self.waiting.append(_spread(rows, max(CHANNEL_VALUES, SAMPLE_VALUES // rows.shape[1])).contiguous())
        if sum(map(len, self.waiting)) >= _TOGETHER:
            self._sort_in()
        return True

    def _sort_in(self) -> None:
        """Count what waits, in both histograms."""
        if self.waiting:
            sample, self.waiting = torch.cat(self.waiting), []
            self.channels.add(sample, self.low, self.high)
            few = _spread(sample.reshape(len(sample), 1, -1), TENSOR_VALUES)
            self.tensor.add(few, self.low.amin().reshape(1), self.high.amax().reshape(1))

    def record(self) -> EdgeRange:
        self._sort_in()
        mean = (self.total / self.count).numpy()
        return EdgeRange(
            self.low.numpy(), self.high.numpy(), mean, self.count, self.channels.finished(), self.tensor.finished()
        )


def _float32(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array.astype(np.float32))


def _spread(rows: Tensor, limit: int) -> Tensor:
    """At most `limit` values of each row, evenly spread, the same of every sample. Shape: (N, C, L) -> (N, C, l)."""
    length = rows.shape[2]
    step = -(-length // limit)
    while math.gcd(step, length) > 1 and step > 1:  # a step that divides the width would see a few columns only
        step += 1
    return rows[:, :, ::step]


def _sample_axis(node: fx.Node) -> int:
    """The axis that counts samples: the first whose length is not fixed. In attention it may not be the first."""
    shape = node.meta["val"].shape
    return next((axis for axis, size in enumerate(shape) if not isinstance(size, int)), 0)


def _rows(value: Tensor, node: fx.Node) -> Tensor:
    """Samples, channels, values. Shape: (N, C, ...) -> (N, C, L); (N, 1, L) where no axis counts channels."""
    shape, axis = node.meta["val"].shape, _sample_axis(node)
    if not shape:
        return value.float().reshape(1, 1, 1)
    if axis or len(shape) == 1 or not isinstance(shape[channel_axis(node)], int):
        return value.float().movedim(axis, 0).reshape(value.shape[axis], 1, -1)
    return value.float().movedim(channel_axis(node), 1).reshape(len(value), shape[channel_axis(node)], -1)


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
