"""Histograms that take values as they come, in memory that does not grow with them.

The width of a row's bins is the smallest power of two with which its bins reach from its smallest value over zero to
its largest. Bins of twice the width are made by joining pairs, exactly: so the result does not depend on the order of
the values, nor on how they were cut into batches, and a pass can stop and go on.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from edgesmith.quant import Histogram

_SMALLEST = 2.0**-100  # the range of a row that has seen nothing but zeros
_HALVINGS = 31  # no bin index needs more


def bent_histogram(seen: Histogram, above: np.ndarray, below: np.ndarray) -> Histogram:
    """The histogram of above * x for x > 0 and below * x for x < 0. Shape: above, below (R,) or (1,).

    The side with the larger slope keeps its bins; of the other the middle of each bin counts.
    """
    rows, bins = seen.counts.shape
    index = seen.first[:, None] + np.arange(bins)
    slope = np.where(index > 0, np.reshape(above, (-1, 1)), np.reshape(below, (-1, 1)))
    steepest = np.broadcast_to(np.maximum(np.abs(above), np.abs(below)), (rows,))
    relative = slope / np.where(steepest > 0, steepest, 1)[:, None]
    place = (index - 0.5 * np.sign(index)) * relative
    moved = (np.sign(place) * np.ceil(np.abs(place))).astype(np.int64)
    first = moved.min(1)
    flat = (moved - first[:, None]) + np.arange(rows)[:, None] * bins
    counts = np.bincount(flat.reshape(-1), seen.counts.reshape(-1), rows * bins)
    width = seen.width * np.where(steepest > 0, steepest, 1)
    return Histogram(width, first, counts.astype(np.int32).reshape(rows, bins))


class Running:
    """A histogram a row, growing. Shape: counts (rows, bins)."""

    def __init__(self, rows: int, bins: int) -> None:
        self.low, self.high = torch.zeros(rows, dtype=torch.float64), torch.zeros(rows, dtype=torch.float64)
        self.counts = torch.zeros(rows, bins, dtype=torch.int32)
        self._place(_exponent(self.low, self.high, bins))

    @classmethod
    def resumed(cls, seen: Histogram, low: np.ndarray, high: np.ndarray) -> Running:
        """Go on from a finished histogram; low, high: smallest and largest value a row has seen."""
        found = cls(*seen.counts.shape)
        found.low = torch.from_numpy(low.astype(np.float64)).clamp(max=0)
        found.high = torch.from_numpy(high.astype(np.float64)).clamp(min=0)
        found._place(torch.from_numpy(np.rint(np.log2(seen.width)).astype(np.int64)))
        counts, first = torch.from_numpy(seen.counts.astype(np.int32)), torch.from_numpy(seen.first.astype(np.int64))
        found.counts = _joined(counts, first, torch.zeros_like(first), found.first)
        return found

    def add(self, values: Tensor, low: Tensor, high: Tensor) -> None:
        """Count values between low and high. Shape: values (N, rows, L); low, high (rows,)."""
        self.low, self.high = torch.minimum(self.low, low), torch.maximum(self.high, high)
        if bool(((self.low < self.reach[0]) | (self.high > self.reach[1])).any()):
            self._make_room()
        scaled = values * self._inverse
        bins = scaled.abs().ceil_().copysign_(scaled).to(torch.int32).add_(self._offset)
        self.counts.view(-1).add_(torch.bincount(bins.flatten(), minlength=self.counts.numel()))

    def finished(self) -> Histogram:
        """What was counted, from the bin of the smallest value or zero."""
        width = torch.ldexp(torch.ones_like(self.low), self.exponent)
        first = (self.low / width).floor().long()
        counts = _joined(self.counts, self.first, torch.zeros_like(first), first)
        return Histogram(width.numpy(), first.numpy(), counts.numpy())

    def _make_room(self) -> None:
        """Join bins of the rows whose bins do not reach all that was seen."""
        before, first = self.exponent, self.first
        self._place(_exponent(self.low, self.high, self.counts.shape[1]))
        moved = ((self.exponent != before) | (self.first != first)).nonzero().flatten()
        wider = self.exponent[moved] - before[moved]
        self.counts[moved] = _joined(self.counts[moved], first[moved], wider, self.first[moved])

    def _place(self, exponent: Tensor) -> None:
        """Put the bins so that zero and what was seen lie inside, with room on the sides that have values."""
        rows, bins = self.counts.shape
        width = torch.ldexp(torch.ones_like(self.low), exponent)
        first, last = (self.low / width).floor().long(), (self.high / width).ceil().long()
        room = (bins - 1 - last + first) * (self.low < 0) // (1 + (self.high > 0).long())
        self.exponent, self.first = exponent, first - room
        self.reach = self.first * width, (self.first + bins - 1) * width
        self._offset = (torch.arange(rows) * bins - self.first).to(torch.int32).unsqueeze(1)
        self._inverse = torch.ldexp(torch.ones(rows), -exponent).unsqueeze(1)


def _exponent(low: Tensor, high: Tensor, bins: int) -> Tensor:
    """The smallest exponent of the width with which `bins` bins hold low, zero and high, low <= 0 <= high."""
    exponent = torch.frexp((high - low).clamp(min=_SMALLEST) / (bins - 1)).exponent.long() - 1
    for _ in range(2):
        width = torch.ldexp(torch.ones_like(low), exponent)
        exponent = exponent + ((-low / width).ceil() + (high / width).ceil() + 1 > bins).long()
    return exponent


def _joined(counts: Tensor, first: Tensor, halvings: Tensor, new_first: Tensor) -> Tensor:
    """The same counts in bins 2^halvings as wide, from bin `new_first` on. Shape: (R, B), else (R,)."""
    bins = torch.arange(counts.shape[1]) + first.unsqueeze(1)
    steps = halvings.clamp(max=_HALVINGS).unsqueeze(1)
    joined = -((-bins.abs()) >> steps) * bins.sign() - new_first.unsqueeze(1)
    # Bins outside the new ones are empty: the new ones hold all that was seen.
    return torch.zeros_like(counts).scatter_add_(1, joined.clamp(0, counts.shape[1] - 1), counts)
