"""One step size for the three values of a PReLU written as z + relu(-(1 - a) z).

On grids of one step the sum of two grid points is a grid point: the addition rounds nothing, and where z is positive
nothing is rounded but z. The step is that of the widest of the three, so it is shared only where that adds less error
than it takes away.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from torch import fx

from edgesmith.graph.operators import source
from edgesmith.graph.program import Program
from edgesmith.quant import QuantSpec

Ends = tuple[float, float]


def shared_steps(
    program: Program, rewrites: Mapping[str, str], ends: Mapping[fx.Node, Ends], fixed: Collection[fx.Node]
) -> dict[fx.Node, float]:
    """Value -> the width of the grid that it shares with the other values of its PReLU.

    ends: the grid each quantized value would have by itself. fixed: values that have another's numbers already.
    """
    found: dict[fx.Node, float] = {}
    for path, form in rewrites.items():
        last = program.nodes[path]
        if form != "depthwise" or any(node not in ends or node in fixed for node in (last, *last.all_input_nodes)):
            continue
        z, bend = source(last, 0), source(last, 1)
        widths = [_width(ends[node]) for node in (z, bend, last)]
        # Of a value around zero half is positive: there the bend is exactly 0 and adds no error.
        apart = (widths[0] ** 2 + widths[1] ** 2) / 2 + widths[2] ** 2
        if max(widths) ** 2 <= apart:
            found.update(dict.fromkeys((z, bend, last), max(widths)))
    return found


def widened(ends: Ends, width: float, spec: QuantSpec) -> Ends:
    """Ends `width` apart that hold `ends`; a symmetric grid grows on both sides."""
    low, high = min(ends[0], 0.0), max(ends[1], 0.0)
    if spec.symmetric:
        return -width / 2, width / 2
    return low, low + max(width, high - low)


def _width(ends: Ends) -> float:
    return max(ends[1], 0.0) - min(ends[0], 0.0)
