"""Ranges of the edges that a rewrite has made, from what calibration saw on the original: no second pass.

What graph/activations.py makes of a value z is, channel by channel, a line with a knee at zero: p z above, n z below.
Lines with a knee stay such under relu, factors, sums and maxima; so all that is new is a function of one value that
calibration has seen, and its histogram is that value's, bent.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from torch import fx

from edgesmith.compress.quantize.histogram import bent_histogram
from edgesmith.errors import UsageError
from edgesmith.graph.naming import operator_name
from edgesmith.graph.operators import channel_axis, constant, is_weighted, source
from edgesmith.graph.program import Program
from edgesmith.quant import EdgeRange, RangeRecord

_SAME = 1e-3  # weights that differ by less than this share of the largest are the same, folded elsewhere


@dataclass(frozen=True)
class _Knee:
    """above * z for z > 0, below * z for z < 0, of the value z of `root`. Shape: above, below (C,) or (1,)."""

    root: fx.Node
    above: np.ndarray
    below: np.ndarray


def edge_ranges(program: Program, record: RangeRecord) -> dict[str, EdgeRange]:
    """Per-channel ranges, means and histograms of every float value of a rewritten program.

    A value the original has: what was seen, times the factor of the rewrite. A new one: what was seen of the value it
    is made of, bent; exact but for the width of a bin, its mean is known where it is a multiple.
    Raises: UsageError for a record of another model.
    """
    found: dict[str, EdgeRange] = {}
    by_node: dict[fx.Node, EdgeRange] = {}
    knees: dict[fx.Node, _Knee] = {}
    for edge, node in program.edges():
        if edge in record.edges:
            by_node[node] = _recorded(program, node, edge, record)
            knees[node] = _Knee(node, np.ones(1), np.ones(1))
        else:
            knee = _knee(program, node, knees)
            if knee is None:
                raise _another_model(edge, "the calibration record has none")
            knees[node], by_node[node] = knee, bent(by_node[knee.root], knee.above, knee.below)
        found[edge] = by_node[node]
    return found


def check_record(program: Program, record: RangeRecord) -> None:
    """Raise UsageError where a record was not made with the weights of this (simplified) program."""
    for edge, now in weight_ranges(program).items():
        then = record.edges.get(edge)
        if then is None or len(then.low) != len(now.low):
            raise _another_model(edge, "the calibration record has no such weight")
        size = max(float(np.abs([now.low, now.high]).max()), 1e-30)
        if max(np.abs(then.low - now.low).max(), np.abs(then.high - now.high).max()) > _SAME * size:
            raise _another_model(edge, "calibration saw other weights")


def _another_model(edge: str, found: str) -> UsageError:
    return UsageError(f"the range of {edge}", found, "calibrate this model")


def weight_ranges(program: Program) -> dict[str, EdgeRange]:
    """Ranges of every weight per output channel (axis 0)."""
    found = {}
    for path, node in program.nodes.items():
        if is_weighted(node):
            rows = constant(program.module, node, 1).flatten(1)
            found[f"{path}:weight"] = EdgeRange(rows.amin(1).float().numpy(), rows.amax(1).float().numpy())
    return found


def times(seen: EdgeRange, factor: np.ndarray) -> EdgeRange:
    """What is known of factor * x, channel by channel. Shape: factor (C,)."""
    return bent(seen, factor, factor)


def bent(seen: EdgeRange, above: np.ndarray, below: np.ndarray) -> EdgeRange:
    """What is known of above * x for x > 0 and below * x for x < 0. Shape: above, below (C,) or (1,)."""
    ends = np.stack([end * np.where(end > 0, above, below) for end in (seen.low, seen.high)])
    low, high = ends.min(0), ends.max(0)
    crosses = (seen.low < 0) & (seen.high > 0)
    low, high = np.where(crosses, np.minimum(low, 0), low), np.where(crosses, np.maximum(high, 0), high)
    mean = seen.mean * above if seen.mean is not None and np.array_equal(above, below) else None
    whole = len(seen.low) == 1 or (len(above) == 1 and len(below) == 1)
    return replace(
        seen,
        low=low.astype(np.float32),
        high=high.astype(np.float32),
        mean=mean,
        channels=None if seen.channels is None else bent_histogram(seen.channels, above, below),
        tensor=bent_histogram(seen.tensor, above, below) if whole and seen.tensor is not None else None,
    )


def _recorded(program: Program, node: fx.Node, edge: str, record: RangeRecord) -> EdgeRange:
    seen, shape = record.edges[edge], node.meta["val"].shape
    channels = shape[channel_axis(node)] if len(shape) > 1 else None
    if isinstance(channels, int) and len(seen.low) != channels:
        found = f"the calibration record has {len(seen.low)} channels, the program {channels}"
        raise _another_model(edge, found)
    origin = program.origins.get(node.name)
    return seen if origin is None or origin.factor is None else times(seen, origin.factor)


def _knee(program: Program, node: fx.Node, known: dict[fx.Node, _Knee]) -> _Knee | None:
    """What a rewrite's own node is of a value that calibration has seen; None where that is not known."""
    made_by_rewrite = node.name in program.origins and program.origins[node.name].layer is None
    x, name = (known.get(source(node)) if made_by_rewrite else None), operator_name(node)
    if x is None:
        return None
    if name == "relu":
        return _Knee(x.root, np.maximum(x.above, 0), np.minimum(x.below, 0))
    if name in ("mul", "conv2d") and source(node, 1).op == "get_attr":
        factor = constant(program.module, node, 1).flatten().numpy()
        return _Knee(x.root, x.above * factor, x.below * factor)
    y = known.get(source(node, 1)) if name in ("add", "maximum") else None
    if y is None or y.root is not x.root:
        return None
    if name == "add":
        return _Knee(x.root, x.above + y.above, x.below + y.below)
    return _Knee(x.root, np.maximum(x.above, y.above), np.minimum(x.below, y.below))
