"""Additions that round nothing: both operands and the sum on grids of one step.

On such grids the sum of two grid points is a grid point, so all that is rounded are the operands. The step is that of
the widest of the three, so it is shared only where that adds less error than it takes away. Grids stay apart where the
runtime adds before it rounds.
A chain of additions, each the operand of the next (a residual trunk), is cut into runs that share a step; where, is
found by dynamic programming over the sum of the squared steps. The addition of a PReLU written as z + relu(-(1 - a) z)
is a chain of its own: where z is positive nothing is rounded then but z.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from torch import fx

from edgesmith.graph.operators import float_inputs, is_add, source
from edgesmith.graph.program import Program
from edgesmith.quant import QuantSpec

Ends = tuple[float, float]


@dataclass(frozen=True)
class _Chain:
    """trunk: the first operand and then every sum. branches[i] is what was added to trunk[i] to give trunk[i + 1]."""

    trunk: tuple[fx.Node, ...]
    branches: tuple[fx.Node, ...]


def shared_steps(
    program: Program,
    rewrites: Mapping[str, str],
    ends: Mapping[fx.Node, Ends],
    fixed: Collection[fx.Node],
    spec: QuantSpec,
) -> dict[fx.Node, float]:
    """Value -> the width of the grid that it shares with others. Values that keep their own are absent.

    ends: the grid each quantized value would have by itself. fixed: values that have another's numbers already.
    """
    widths = {node: _width(own, spec) for node, own in ends.items() if node not in fixed}
    bends = {program.nodes[path] for path, form in rewrites.items() if form == "depthwise"}
    found: dict[fx.Node, float] = {}
    for last in bends:
        if all(node in widths for node in (last, *last.all_input_nodes)):
            found.update(_bend(last, widths))
    for chain in _chains(program, widths, bends):
        found.update(_cut(chain, {**widths, **found}))
    return found


def widened(ends: Ends, width: float, spec: QuantSpec) -> Ends:
    """Ends `width` apart that hold `ends`; a symmetric grid grows on both sides."""
    if spec.symmetric:
        return -width / 2, width / 2
    return min(ends[0], 0.0), min(ends[0], 0.0) + max(width, _width(ends, spec))


def _width(ends: Ends, spec: QuantSpec) -> float:
    low, high = min(ends[0], 0.0), max(ends[1], 0.0)
    return 2 * max(-low, high) if spec.symmetric else high - low


def _bend(last: fx.Node, widths: Mapping[fx.Node, float]) -> dict[fx.Node, float]:
    z, bend = source(last, 0), source(last, 1)
    widest = max(widths[node] for node in (z, bend, last))
    # Of a value around zero half is positive: there the bend is exactly 0 and adds no error.
    apart = (widths[z] ** 2 + widths[bend] ** 2) / 2 + widths[last] ** 2
    return dict.fromkeys((z, bend, last), widest) if widest**2 <= apart else {}


def _chains(program: Program, widths: Collection[fx.Node], bends: Collection[fx.Node]) -> list[_Chain]:
    """Every quantized addition of two values of one shape, in the longest chains."""
    adds = [
        n for n in program.nodes.values()
        if is_add(n) and n not in bends and len(float_inputs(n)) == 2 and {n, *float_inputs(n)} <= set(widths)
    ]  # fmt: skip
    left = dict.fromkeys(adds)
    found: list[_Chain] = []
    while left:
        node = next(iter(left))
        first, second = float_inputs(node)
        trunk = [second if len(second.users) > len(first.users) else first]  # the trunk is read by a branch too
        branches: list[fx.Node] = []
        while node is not None:
            del left[node]
            branches += [operand for operand in float_inputs(node) if operand is not trunk[-1]]
            trunk.append(node)
            node = next((user for user in node.users if user in left), None)  # type: ignore[assignment]
        found.append(_Chain(tuple(trunk), tuple(branches)))
    return found


def _cut(chain: _Chain, widths: Mapping[fx.Node, float]) -> dict[fx.Node, float]:
    """The widths of the runs with the least sum of squares; a run of one value keeps its own.

    A run of n sums' values rounds its first value and n - 1 branches; the branch before a run is rounded as well.
    """
    trunk = [widths[node] for node in chain.trunk]
    branch = [0.0, *(widths[node] for node in chain.branches)]
    best, start = [0.0], [0]
    for end in range(1, len(trunk) + 1):
        costs = [
            best[i] + branch[i] ** 2 + (end - i) * max(*trunk[i:end], *branch[i + 1 : end]) ** 2
            if end - i > 1
            else best[i] + branch[i] ** 2 + trunk[i] ** 2
            for i in range(end)
        ]
        start.append(min(range(end), key=costs.__getitem__))
        best.append(costs[start[-1]])
    found: dict[fx.Node, float] = {}
    end = len(trunk)
    while end:
        first = start[end]
        run = (*chain.trunk[first:end], *chain.branches[first : end - 1])
        if len(run) > 1:
            found.update(dict.fromkeys(run, max(widths[node] for node in run)))
        end = first
    return found
