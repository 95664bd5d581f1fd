"""What a plan leaves in float: operators by module path, with their share of the multiply-accumulates, and why."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from torch import fx

from edgesmith.compress.quantize.placement import kept_layers, owner
from edgesmith.graph.macs import layer_macs
from edgesmith.graph.naming import operator_name
from edgesmith.graph.operators import MOVES_VALUES, activation
from edgesmith.graph.program import Program
from edgesmith.graph.rewrite import planned, simplify
from edgesmith.quant import QuantPlan
from edgesmith.targets import rules_of


@dataclass(frozen=True)
class FloatLayer:
    """One operator that computes in float. macs_share: of all multiply-accumulates of the net, 0..1."""

    layer: str
    operator: str
    macs_share: float
    reason: str


def float_layers(
    program: Program, plan: QuantPlan, asked: Collection[str] = (), kept: Collection[str] = (), why: str = ""
) -> tuple[FloatLayer, ...]:
    """Operators that a plan does not quantize, those with the most work first.

    asked: paths the user keeps in float. kept: layers that were chosen to stay in float, and why.
    """
    lowered, folded = planned(program, plan), simplify(program)
    macs = layer_macs(lowered)
    total = sum(macs.values()) or 1
    wanted, needed = kept_layers(folded, asked), kept_layers(folded, kept)
    rows = []
    for path, node in lowered.nodes.items():
        if plan.precision.get(path, "fp32") != "int8":
            whole = owner(path, plan.rewrites)
            reason = why if whole in needed else "asked" if whole in wanted else ""
            rows.append(FloatLayer(path, operator_name(node), macs[path] / total, reason or _reason(plan, whole, node)))
    return tuple(sorted(rows, key=lambda row: -row.macs_share))


def _reason(plan: QuantPlan, whole: str, node: fx.Node) -> str:
    """Why the family's rules leave a layer in float that nobody asked for."""
    if plan.rewrites.get(whole) == "affine":
        return "a PReLU with slopes above 1 whose channels cannot be flipped"
    if activation(node) in rules_of(plan.family).fuses or operator_name(node) in MOVES_VALUES:
        return "reads a value in float"
    return f"no integer rule for {operator_name(node)} in {plan.family}"
