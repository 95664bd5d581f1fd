"""A plan with some of its layers left in float and every other number as it was, for numbers that were learned."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np
from torch import fx

from edgesmith.compress.quantize.clipping import bounds
from edgesmith.compress.quantize.placement import Placement, kept_layers, place
from edgesmith.compress.quantize.plan import precision_of
from edgesmith.compress.quantize.ranges import edge_ranges
from edgesmith.graph.operators import is_weighted
from edgesmith.graph.program import Program, check_program
from edgesmith.graph.rewrite import planned, simplify
from edgesmith.quant import BiasOf, EdgeQuant, QuantPlan, RangeRecord, SameAs, choose, in_half
from edgesmith.targets import check_plan, rules_of

Edges = dict[str, EdgeQuant | SameAs | BiasOf]


def take_out(program: Program, plan: QuantPlan, keep_float: Collection[str], ranges: RangeRecord) -> QuantPlan:
    """`plan` without the layers that `keep_float` names, themselves or by a module; all else is as it was learned.

    Scales, zero points, weights' steps and corrected biases of the other layers stay. Where a layer was fused into an
    addition, that addition now reads a value that had no numbers before: it gets those of the calibration record.
    Raises: UsageError for a plan of another model, or a path that no operator belongs to.
    """
    check_program(program, plan)
    lowered, rules = planned(program, plan), rules_of(plan.family)
    placement = place(lowered, rules, plan.rewrites, kept_layers(simplify(program), keep_float))
    edges = _value_edges(lowered, placement, plan, ranges)
    layers = {lowered.paths[node.name] for node in placement.layers if is_weighted(node)}
    for path in layers:
        edges.update({edge: plan.edges[edge] for edge in (f"{path}:weight", f"{path}:bias") if edge in plan.edges})
    rounded = {path: up for path, up in plan.rounded_up.items() if path in layers}
    made = replace(plan, edges=edges, precision=precision_of(lowered, placement), rounded_up=rounded)
    check_plan(made)
    return made


def _value_edges(lowered: Program, placement: Placement, plan: QuantPlan, ranges: RangeRecord) -> Edges:
    names = {node: edge for edge, node in lowered.edges()}
    groups: dict[fx.Node, list[fx.Node]] = {}
    for node in placement.values:
        groups.setdefault(placement.same.get(node, node), []).append(node)
    edges = Edges()
    for first, members in groups.items():
        known = (plan.resolve(names[node]) for node in members)
        numbers = next((quant for quant in known if quant is not None), None)
        edges[names[first]] = numbers or _calibrated(lowered, [names[node] for node in members], plan, ranges)
        edges.update({names[node]: SameAs(names[first]) for node in members if node is not first})
    return edges


def _calibrated(lowered: Program, edges: Collection[str], plan: QuantPlan, ranges: RangeRecord) -> EdgeQuant:
    rules, seen = rules_of(plan.family), edge_ranges(lowered, ranges)
    spec = rules.activation[plan.instruction_set][0]
    low, high = zip(*(bounds(seen[edge], "mse", spec) for edge in edges))
    made = choose(spec, np.min(low), np.max(high))
    return in_half(made) if rules.half_scales else made
