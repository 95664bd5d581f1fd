"""Cross-layer equalisation: a factor a channel, so that all channels fill the grid they share.

A plan quantizes a value with one scale for all its channels; a channel with a small range has few steps left. Layers
take the factors in their weights, which have a scale of their own for each output channel. A layer norm in front of
linear layers takes them in its own weight and bias, which nobody quantizes.
Source: Nagel et al. 2019, arXiv 1906.04721; the balance of ranges and weights is that of SmoothQuant, arXiv 2211.10438.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from torch import fx

from edgesmith.graph.channels import ChannelGroup
from edgesmith.graph.operators import constant, groups, is_norm_of_features
from edgesmith.graph.program import Program
from edgesmith.quant import EdgeRange

BALANCE = 0.8  # how much of the difference between channels moves from the values into the weights
NORM_BALANCE = 0.5  # the same behind a layer norm, as in SmoothQuant: 0.8 costs nets without outliers up to 0.7 dB
_LARGEST = 1e3  # a channel that hardly moves keeps its noise
_MARGIN = 1.02  # room below the ceiling of a clip for values that calibration did not see


def equalising_factors(
    program: Program,
    channel_groups: Collection[ChannelGroup],
    quantized: Mapping[fx.Node, EdgeRange],
    balance: float = BALANCE,
) -> dict[str, np.ndarray]:
    """A factor (C,) for each group that has a quantized value and more than one channel.

    quantized: node of the folded original -> the range of its value, for those that get quantized. Readers that are
    depthwise take any factor for nothing; others share the difference: s = w^(1 - balance) / r^balance with r the
    channel's range (the geometric mean over the group's values) and w its largest weight behind.
    """
    found = {}
    for group in channel_groups:
        seen = [quantized[node] for node in group.values if node in quantized]
        if seen and group.channels > 1 and all(len(edge.low) == group.channels for edge in seen):
            of_norm = is_norm_of_features(group.makers[0])
            factor = _factor(program, group, seen, NORM_BALANCE if of_norm else balance)
            if not np.allclose(factor, 1.0):
                found[group.name] = factor
    return found


def _factor(program: Program, group: ChannelGroup, seen: list[EdgeRange], balance: float) -> np.ndarray:
    spread, dead = _spread(seen)
    dense = [reader for reader in group.readers if groups(reader) != group.channels]
    if dense:
        weight = np.max([_largest_weight(program, reader) for reader in dense], axis=0)
        factor = weight ** (1 - balance) / spread**balance
        factor = factor / np.exp(np.log(factor).mean())
    else:
        factor = spread.max() / spread
    factor = np.clip(factor, 1 / _LARGEST, _LARGEST)
    if group.ceiling is not None:
        factor = _below(group.ceiling, factor, seen)
    return np.where(dead, 1.0, factor)


def _spread(seen: Sequence[EdgeRange]) -> tuple[np.ndarray, np.ndarray]:
    """How wide each channel is, relative to the widest, and which are dead: nowhere a thousandth of the widest.

    The width is the geometric mean over the values in which the channel moves at all; a value counts by the square of
    its size, as the error of its grid does.
    """
    widths = np.stack([np.maximum(edge.high, 0).astype(np.float64) - np.minimum(edge.low, 0) for edge in seen])
    widest = np.maximum(widths.max(1, keepdims=True), 1e-30)
    moving = widths > widest / _LARGEST
    relative = np.where(moving, widths / widest, 1.0)
    counts = np.where(moving, (np.median(widths, axis=1, keepdims=True) / widest.max() + 1e-9) ** 2, 0.0)
    return np.exp((counts * np.log(relative)).sum(0) / np.maximum(counts.sum(0), 1e-30)), ~moving.any(0)


def _largest_weight(program: Program, reader: fx.Node) -> np.ndarray:
    """Largest weight that reads each channel, relative to the largest of all. Shape: (C,)."""
    weight, count = constant(program.module, reader, 1).abs().numpy(), groups(reader)
    by_group = weight.reshape(count, weight.shape[0] // count, weight.shape[1], -1)
    largest = by_group.max(axis=(1, 3)).reshape(-1)
    return np.maximum(largest / max(largest.max(), 1e-30), 1 / _LARGEST)


def _below(ceiling: float, factor: np.ndarray, seen: list[EdgeRange]) -> np.ndarray:
    """Factors that push no value seen above the ceiling of a clip, and pull down no value that reached it."""
    highest = np.max([edge.high for edge in seen], axis=0)
    room = ceiling / (_MARGIN * np.maximum(highest, ceiling / _LARGEST))
    return np.clip(factor / factor.min(), 1.0, np.maximum(room, 1.0))
