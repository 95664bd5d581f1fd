"""Ranges of the edges that a rewrite has made, from the ranges calibration saw on the original: no second pass."""

from __future__ import annotations

import numpy as np
from torch import fx

from edgesmith.errors import UsageError
from edgesmith.graph.naming import operator_name
from edgesmith.graph.operators import constant, source
from edgesmith.graph.program import Program
from edgesmith.quant import EdgeRange, RangeRecord


def edge_ranges(program: Program, record: RangeRecord) -> dict[str, EdgeRange]:
    """Per-channel range of every float value of a rewritten program.

    A value the original has: its range, times the factor of the rewrite. A new value: interval arithmetic on its
    inputs, exact for the forms of graph/activations.py except that dependent operands are taken as independent.
    Raises: UsageError for a record of another model.
    """
    found: dict[str, EdgeRange] = {}
    by_node: dict[fx.Node, EdgeRange] = {}
    for edge, node in program.edges():
        if edge in record.edges:
            by_node[node] = _recorded(program, node, edge, record)
        else:
            by_node[node] = _transfer(program, node, edge, by_node)
        found[edge] = by_node[node]
    return found


def times(seen: EdgeRange, factor: np.ndarray) -> EdgeRange:
    """The range and mean of factor * x, channel by channel. Shape: factor (C,)."""
    ends = np.stack([seen.low * factor, seen.high * factor])
    mean = None if seen.mean is None else (seen.mean * factor).astype(np.float32)
    return EdgeRange(ends.min(0).astype(np.float32), ends.max(0).astype(np.float32), mean)


def _recorded(program: Program, node: fx.Node, edge: str, record: RangeRecord) -> EdgeRange:
    seen, shape = record.edges[edge], node.meta["val"].shape
    if len(shape) > 1 and isinstance(shape[1], int) and len(seen.low) != shape[1]:
        found = f"the calibration record has {len(seen.low)} channels, the program {shape[1]}"
        raise UsageError(f"the range of {edge}", found, "calibrate this model")
    origin = program.origins.get(node.name)
    return seen if origin is None or origin.factor is None else times(seen, origin.factor)


def _transfer(program: Program, node: fx.Node, edge: str, known: dict[fx.Node, EdgeRange]) -> EdgeRange:
    made_by_rewrite = node.name in program.origins and program.origins[node.name].layer is None
    x = known.get(source(node)) if made_by_rewrite else None
    name = operator_name(node)
    if x is not None and name == "relu":
        return EdgeRange(np.maximum(x.low, 0), np.maximum(x.high, 0))
    if x is not None and name in ("mul", "conv2d") and source(node, 1).op == "get_attr":
        return times(x, constant(program.module, node, 1).flatten().numpy())
    y = known.get(source(node, 1)) if x is not None and name in ("add", "maximum") else None
    if x is not None and y is not None:
        join = np.add if name == "add" else np.maximum
        return EdgeRange(join(x.low, y.low), join(x.high, y.high))
    raise UsageError(f"the range of {edge}", "the calibration record has none", "calibrate this model")
