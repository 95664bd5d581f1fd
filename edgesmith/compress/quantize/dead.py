"""Channels that calibration never saw move, and values that were zero throughout.

Nothing is known about the range of such a channel. It keeps its factor and its share of the grid; a value that is dead
as a whole gets a grid of ordinary size, because a scale of almost nothing would make the bias behind it overflow and
clip whatever does come along later. The plan says what was found.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgesmith.compress.quantize.placement import Placement
from edgesmith.graph.program import Program
from edgesmith.quant import EdgeRange

_ORDINARY = (0.0, 1.0)


def living_ends(ends: tuple[float, float]) -> tuple[float, float]:
    """The ends of a grid; of ordinary size where nothing but zero was seen."""
    return ends if max(ends[1], 0.0) > min(ends[0], 0.0) else _ORDINARY


def still(seen: EdgeRange) -> np.ndarray:
    """Which channels had one value throughout. Shape: bool (C,)."""
    return np.asarray(seen.low == seen.high)


def dead_notes(program: Program, placement: Placement, ranges: Mapping[str, EdgeRange]) -> tuple[str, ...]:
    """One line for each quantized value with channels that never moved; value-moving operators say nothing new."""
    names = {node: edge for edge, node in program.edges()}
    found = []
    for node in placement.values:
        seen = ranges[names[node]]
        count, path = int(still(seen).sum()), names[node].removesuffix(":out")
        made_by_rewrite = node.name in program.origins and program.origins[node.name].layer is None
        if node in placement.movers or made_by_rewrite or not count:
            continue
        whole = "the grid 0 to 1" if not (seen.low.any() or seen.high.any()) else "the grid of the others"
        found.append(f"{path}: {count} of {len(seen.low)} channels never moved during calibration; they get {whole}")
    return tuple(found)
