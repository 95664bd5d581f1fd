"""A drop that is kept by bisecting: int8 artefacts rebuilt with parts of their layers in float until few are left.

accuracy_control.py raises layers by what they are predicted to harm; this asks the runtime itself, set by set, so that
it also finds a layer whose harm the simulation does not show. Each of the `most` looks at the samples spends an equal
share of the 5 % that an interval may be wrong (Bonferroni).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from edgesmith.compress.quantize.placement import owner
from edgesmith.pipeline.accuracy_control import ALPHA, CHECK, Control, Found, Goal, Look, widened
from edgesmith.quant import QuantPlan
from edgesmith.results import Verdict
from edgesmith.verify.bisect import MOST_REBUILDS, Bisection, Judged, bisect
from edgesmith.verify.gate import decide

_ELSEWHERE = (
    "; with every layer in float too: not quantization is to blame, look at the input, the rewrites of the plan "
    "and the drift of the float target"
)


@dataclass
class _Bench:
    """Rebuilds and judges; keeps what was found of each set."""

    goal: Goal
    most: int
    found: dict[frozenset[str], tuple[QuantPlan, Found]] = field(default_factory=dict)

    def judge(self, raised: frozenset[str]) -> Judged:
        plan = self.goal.planner(raised)
        found = self.goal.measure(plan)
        self.found[raised] = (plan, found)
        if found.broken:
            return Judged(found.broken, found.problem)
        drop = widened(found.drop, ALPHA / self.most)
        state, _ = decide(drop, "<=", self.goal.max_drop, found.n)
        ends = ["unbounded" if end is None else f"{end:.4g}" for end in (drop.low, drop.high)]
        return Judged(state, f"drop of {found.metric} {drop.value:.4g} ({ends[0]} to {ends[1]}), n = {found.n}")

    def look(self, raised: tuple[str, ...], judged: Judged) -> Look:
        return Look(raised, None, widened(self.found[frozenset(raised)][1].drop, ALPHA / self.most), judged.state)


def integer_layers(plan: QuantPlan) -> tuple[str, ...]:
    """The original's layers that a plan quantizes, in its order; parts of a lowered activation are the activation."""
    paths = (owner(path, plan.rewrites) for path, precision in plan.precision.items() if precision == "int8")
    return tuple(dict.fromkeys(paths))


def bisect_drop(goal: Goal, say: Callable[[str], None], most: int = MOST_REBUILDS) -> tuple[QuantPlan, Control]:
    """The plan with the fewest layers in float found by at most `most` rebuilds, and how it was found.

    The plan is that of the verdict: where nothing heals, the one with all layers in float. Samples so few that not even
    the original against itself would pass are said at once. Raises: UsageError for a plan without integer layers.
    """
    bench = _Bench(goal, most)
    layers = integer_layers(goal.planner(()))
    if decide(widened(goal.original.drop, ALPHA / most), "<=", goal.max_drop, goal.original.n)[0] != "pass":
        told = f"n = {goal.original.n}: so few samples could not show it for the original itself in {most} looks"
        verdict = Verdict(
            CHECK, goal.target, "inconclusive", f"drop of {goal.original.metric} <= {goal.max_drop:g}", told
        )
        metric, n = goal.original.metric, goal.original.n
        return goal.planner(()), Control(goal.target, metric, goal.max_drop, n, (), (), verdict)
    ended = bisect(layers, bench.judge, most, lambda text: say(f"{goal.target}: {text}"))
    plan, found = bench.found[frozenset(ended.raised)]
    looks = tuple(bench.look(one.raised, one.judged) for one in ended.rebuilds)
    asked = f"drop of {found.metric} <= {goal.max_drop:g}"
    verdict = Verdict(CHECK, goal.target, ended.judged.state, asked, _told(ended))
    return plan, Control(goal.target, found.metric, goal.max_drop, found.n, looks, ended.raised, verdict)


def _told(ended: Bisection) -> str:
    found = f"{ended.judged.found}, rebuilds: {len(ended.rebuilds)}"
    if ended.outcome == "healed":
        names = ", ".join(ended.raised[:5]) + (f" and {len(ended.raised) - 5} more" if len(ended.raised) > 5 else "")
        return f"{found}, in float: {names}" + ("" if ended.needed else " (rebuilds ran out: fewer might do)")
    return found + (_ELSEWHERE if ended.outcome == "not quantization" else "")
