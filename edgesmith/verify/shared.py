"""Which layers share one step of an int8 grid along additions, told from the original alone."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from edgesmith.compress.quantize.joined import Ends, shared_steps
from edgesmith.graph.operators import activation
from edgesmith.graph.program import Program
from edgesmith.targets import QuantRules


def shared_widths(
    program: Program, ends: Mapping[str, Ends], rules: QuantRules, instruction_set: str
) -> dict[str, float]:
    """Path -> the width of the grid that a layer has where it shares one; layers with a grid of their own are absent.

    ends: path -> least and largest value of the original. It is what a plan would choose for these values, not what
    the artefact has: a wrong grid shall not excuse itself.
    """
    specs = rules.activation.get(instruction_set, ())
    if rules.fuses_sum or not specs:
        return {}
    nodes = program.nodes
    quantized = {nodes[path]: own for path, own in ends.items() if path in nodes and not _fused(program, path, rules)}
    widths = shared_steps(program, {}, quantized, (), specs[0])
    return {program.paths[node.name]: width for node, width in widths.items()}


def _fused(program: Program, path: str, rules: QuantRules) -> Collection[object]:
    """The activation that alone reads a layer and runs inside it, so that nothing is rounded in between."""
    readers = list(program.nodes[path].users)
    return readers if len(readers) == 1 and activation(readers[0]) in rules.fuses else ()
