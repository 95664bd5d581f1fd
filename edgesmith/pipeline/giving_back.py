"""Layers that were taken to float for a drop, given back to int8 as long as the drop still holds.

accuracy_control.py raises layers by what they are predicted to harm, in few and large steps, so that more of them end
in float than the drop needs. Here they go back, those first that save the most for the noise they add: half of them at
once, twice as many after a look that holds, half as many after one that does not. Looks 1 to k have spent all but 2^-k
of the 5 % that an interval may be wrong; the looks here share what is left, so that the bound holds for all together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from edgesmith.compress.quantize.mixed import Option
from edgesmith.pipeline.accuracy_control import ALPHA, Control, Fate, Goal, Look, Raised, widened
from edgesmith.quant import QuantPlan
from edgesmith.results import Interval
from edgesmith.verify.gate import decide

MOST = 10  # looks


@dataclass(frozen=True)
class _Layer:
    """noise: what it adds in int8. cost: what float costs more."""

    name: str
    noise: float
    cost: float


@dataclass
class _Search:
    """What was tried. failed: sets of layers in float whose plan did not hold."""

    goal: Goal
    layers: tuple[_Layer, ...]
    alpha: float
    plan: QuantPlan
    kept: frozenset[str]
    failed: set[frozenset[str]]
    looks: list[Look] = field(default_factory=list)
    drops: dict[str, Interval] = field(default_factory=dict)
    needed: set[str] = field(default_factory=set)

    def run(self) -> None:
        """Give back groups of layers until each was given back or was tried alone, or the looks are spent."""
        waiting = list(self.layers)
        size = math.ceil(len(waiting) / 2)
        while waiting:
            group = waiting[:size]
            holds = self.holds(group)
            if holds is None:
                return
            if holds:
                waiting, size = waiting[size:], 2 * size
            elif len(group) > 1:
                size = len(group) // 2
            else:
                self.needed.add(group[0].name)
                waiting = waiting[1:]
                size = math.ceil(len(waiting) / 2)

    def holds(self, group: Sequence[_Layer]) -> bool | None:
        """Whether the drop holds with these in int8 too; None where no look is left, or it cannot be measured."""
        kept = self.kept - {layer.name for layer in group}
        if kept in self.failed:
            return False
        if len(self.looks) == MOST:
            return None
        names = tuple(layer.name for layer in self.layers if layer.name in kept)
        plan = self.goal.planner(names)
        found = self.goal.measure(plan)
        if found.broken:
            return None
        drop = widened(found.drop, self.alpha)
        state, _ = decide(drop, "<=", self.goal.max_drop, found.n)
        self.looks.append(Look(names, None, drop, state))
        self.drops.update({layer.name: drop for layer in group})
        if state == "pass":
            self.plan, self.kept = plan, kept
        else:
            self.failed.add(kept)
        return state == "pass"

    def row(self, layer: _Layer) -> Raised:
        fate: Fate = (
            "given back" if layer.name not in self.kept else "needed" if layer.name in self.needed else "not decided"
        )
        return Raised(layer.name, fate, layer.noise, layer.cost, self.goal.unit, self.drops.get(layer.name))


def give_back(goal: Goal, plan: QuantPlan, control: Control) -> tuple[QuantPlan, Control]:
    """The plan with fewer layers in float that still holds, as it was measured, and what became of each layer.

    A plan that does not hold, or has no layer in float for it, comes back as it is. A layer is needed where the drop
    did not hold with it in int8 beside those that were given back before it.
    """
    if control.verdict.state != "pass" or not control.kept:
        return plan, control
    layers = _in_order(goal.options(), control.kept)
    failed = {frozenset(look.kept) for look in control.looks if look.state != "pass"}
    alpha = ALPHA / 2 ** len(control.looks) / MOST
    search = _Search(goal, layers, alpha, plan, frozenset(control.kept), failed)
    search.run()
    kept = tuple(name for name in control.kept if name in search.kept)
    given = len(control.kept) - len(kept)
    last = next((look for look in reversed(search.looks) if look.state == "pass"), control.looks[-1])
    verdict = (
        replace(control.verdict, found=_told(last, control, len(search.looks), given)) if given else control.verdict
    )
    raised = tuple(search.row(layer) for layer in layers)
    return search.plan, replace(control, kept=kept, verdict=verdict, back=tuple(search.looks), raised=raised)


def _in_order(options: Sequence[Option], kept: Sequence[str]) -> tuple[_Layer, ...]:
    """Those first that save the most for the noise they add."""
    noise = {option.layer: option.loss for option in options if option.precision == "int8"}
    cost = {option.layer: option.cost for option in options if option.precision != "int8"}
    layers = [_Layer(name, noise[name], cost[name]) for name in kept]
    return tuple(sorted(layers, key=lambda layer: -layer.cost / max(layer.noise, 1e-30)))


def _told(last: Look, control: Control, looks: int, given: int) -> str:
    drop, ends = last.drop, [f"{end:.4g}" for end in (last.drop.low, last.drop.high) if end is not None]
    between = f" ({' to '.join(ends)})" if len(ends) == 2 else ""
    done = f"{len(control.looks)} looks and {looks} to give back"
    layers = f"layers in float for it: {len(last.kept)} (given back: {given})"
    return f"{drop.value:.4g}{between}, n = {control.n}, {done}, {layers}"
