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
_SHOWN = 3  # values named in the note


def living_ends(ends: tuple[float, float]) -> tuple[float, float]:
    """The ends of a grid; of ordinary size where nothing but zero was seen."""
    return ends if max(ends[1], 0.0) > min(ends[0], 0.0) else _ORDINARY


def still(seen: EdgeRange) -> np.ndarray:
    """Which channels had one value throughout. Shape: bool (C,)."""
    return np.asarray(seen.low == seen.high)


def dead_notes(program: Program, placement: Placement, ranges: Mapping[str, EdgeRange]) -> tuple[str, ...]:
    """What calibration never saw move, in a line, and a line for each value that was zero throughout."""
    names = {node: edge for edge, node in program.edges()}
    counts: dict[str, int] = {}
    whole = []
    for node in placement.values:
        seen, path = ranges[names[node]], names[node].removesuffix(":out")
        made_by_rewrite = node.name in program.origins and program.origins[node.name].layer is None
        if node in placement.movers or made_by_rewrite or not still(seen).any():
            continue
        counts[f"{path} ({int(still(seen).sum())} of {len(seen.low)})"] = int(still(seen).sum())
        if not (seen.low.any() or seen.high.any()):
            whole.append(f"{path}: nothing but zero was seen, so its grid is 0 to 1")
    if not counts:
        return ()
    shown = ", ".join(list(counts)[:_SHOWN]) + (", ..." if len(counts) > _SHOWN else "")
    total = f"{sum(counts.values())} channels of {len(counts)} values never moved during calibration"
    return (f"{total}; they keep their scale: {shown}", *whole)
