"""A drop of accuracy that is kept: plan, export, measure on the runtime, and raise the precision of layers until it is.

Every look at the same samples is one more chance to be lucky. Look k therefore spends a share 2^-k of the 5 % that an
interval may be wrong, so that "at most 5 %" holds for the whole search however long it gets (the union bound).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

from edgesmith.compress.quantize.mixed import Option, choose_precisions
from edgesmith.quant import QuantPlan
from edgesmith.results import Interval, State, Verdict
from edgesmith.verify.gate import decide

CHECK = "max_drop"
MOST_LOOKS = 6  # the last of them with every layer in float
_LEAST = 0.05  # of the noise that is left from one look to the next
_AIM = 0.8  # of the drop that is allowed, so that the interval has room too
ALPHA = 0.05
Fate = Literal["given back", "needed", "not decided"]


@dataclass(frozen=True)
class Found:
    """The drop of one artefact against the original on `n` samples, or why there is none.

    broken: "fail" where it should have answered, "not_measured" where it cannot run here; "" with a drop.
    """

    metric: str
    drop: Interval
    n: int
    problem: str = ""
    broken: Literal["", "fail", "not_measured"] = ""


@dataclass(frozen=True)
class Look:
    """One plan that was measured: what stays in float for accuracy, and the drop with the interval of that look.

    noise: what its int8 layers add up to (sensitivity.py), None where that was not asked for yet.
    """

    kept: tuple[str, ...]
    noise: float | None
    drop: Interval
    state: State


@dataclass(frozen=True)
class Raised:
    """A layer that was taken to float for a drop, and what became of it (giving_back.py).

    noise: what it adds in int8 as predicted (sensitivity.py). cost: what float costs more, in `unit`. drop: of the last
    look that had it in int8 again, with the layers that were given back before; None where there was none.
    """

    layer: str
    fate: Fate
    noise: float
    cost: float
    unit: str
    drop: Interval | None


@dataclass(frozen=True)
class Control:
    """How a plan was found that keeps a drop, or that none was. kept: the layers in float for accuracy's sake.

    looks: while layers went to float; back: while they were given back. raised: all that once were in float for it.
    """

    target: str
    metric: str
    max_drop: float
    n: int
    looks: tuple[Look, ...]
    kept: tuple[str, ...]
    verdict: Verdict
    back: tuple[Look, ...] = ()
    raised: tuple[Raised, ...] = ()


@dataclass(frozen=True)
class Goal:
    """What is to hold, and the means to find out.

    planner: layers to keep in float -> plan. measure: a plan's drop on its runtime. options: what each layer adds to
    the noise and costs, in int8 and in float; asked for only when the first plan does not hold. original: the drop of
    the original judged against itself. unit: of costs.
    """

    target: str
    max_drop: float
    planner: Callable[[Collection[str]], QuantPlan]
    measure: Callable[[QuantPlan], Found]
    options: Callable[[], Sequence[Option]]
    original: Found
    unit: str = "multiply-accumulates"


def keep_drop(goal: Goal) -> tuple[QuantPlan, Control]:
    """The first plan whose drop is at most `max_drop` by the upper end of its interval, the fastest one first.

    Where even the original against itself does not hold, the samples are too few for any plan, and one look is enough
    to say so. Otherwise precision is raised until a plan holds or all layers are in float. The verdict is "pass" only
    for the plan that is returned, as it was measured.
    """
    plan, looks = goal.planner(()), list[Look]()
    kept, noise = tuple[str, ...](), None
    enough = _shows(goal.original, goal.max_drop)
    while True:
        found = goal.measure(plan)
        drop = spent(found.drop, len(looks) + 1)
        state, more = (found.broken, None) if found.broken else decide(drop, "<=", goal.max_drop, found.n)
        looks.append(Look(kept, noise, drop, state))
        last = "int8" not in plan.precision.values() or len(looks) == MOST_LOOKS
        if state in ("pass", "not_measured") or found.broken or last or not enough:
            break
        options = goal.options()
        kept, noise = _raised(options, kept, found.drop.value, goal.max_drop, last=len(looks) >= MOST_LOOKS - 1)
        plan = goal.planner(kept)
    more = more if enough or state != "inconclusive" else _needed(goal.original, goal.max_drop)
    verdict = Verdict(CHECK, goal.target, state, _asked(found, goal), _told(found, looks, enough), more)
    return plan, Control(goal.target, found.metric, goal.max_drop, found.n, tuple(looks), kept, verdict)


def spent(drop: Interval, look: int) -> Interval:
    """The interval of look number `look` (1, 2, ...): it errs with 0.05 / 2^look, so that all looks err with 0.05."""
    return widened(drop, ALPHA / 2**look)


def widened(drop: Interval, alpha: float) -> Interval:
    """A 95 % interval as one that errs with `alpha`: its ends move as those of a normal distribution do."""
    sure, usual = (NormalDist().inv_cdf(1 - one / 2) for one in (alpha, ALPHA))
    low, high = (
        None if end is None else drop.value + (end - drop.value) * sure / usual for end in (drop.low, drop.high)
    )
    return Interval(drop.value, low, high, 1 - alpha)


def _raised(
    options: Sequence[Option], kept: tuple[str, ...], drop: float, max_drop: float, last: bool
) -> tuple[tuple[str, ...], float]:
    """The layers that go to float next: the cheapest whose absence leaves the noise that the drop allows.

    A drop of c times the limit asks for about 1/c of the noise; a look must change something, so at most half is left.
    """
    if last:
        return tuple(dict.fromkeys(option.layer for option in options)), 0.0
    now = sum(option.loss for option in options if option.precision == "int8" and option.layer not in kept)
    share = min(max(_AIM * max_drop / drop, _LEAST), 0.5) if drop > 0 else 0.5
    choice = choose_precisions(options, loss_budget=now * share)
    return tuple(layer for layer, precision in choice.precision.items() if precision != "int8"), choice.loss


def _shows(original: Found, max_drop: float) -> bool:
    """Whether so many samples could show at all that a drop is within the limit."""
    return decide(spent(original.drop, 1), "<=", max_drop, original.n)[0] == "pass"


def _needed(original: Found, max_drop: float) -> int | None:
    """How many samples more would do for a net without any drop: its bound is c / (n + c), that of intervals.py."""
    high = spent(original.drop, 1).high
    if high is None or not 0 < max_drop < high < 1:
        return None
    c = original.n * high / (1 - high)
    return math.ceil(c * (1 - max_drop) / max_drop) - original.n


def _asked(found: Found, goal: Goal) -> str:
    return f"drop of {found.metric} <= {goal.max_drop:g}"


def _told(found: Found, looks: Sequence[Look], enough: bool) -> str:
    if found.problem:
        return found.problem
    drop = looks[-1].drop
    ends = [f"{end:.4g}" if end is not None else "unbounded" for end in (drop.low, drop.high)]
    text = f"{drop.value:.4g} ({ends[0]} to {ends[1]}), n = {found.n}, look {len(looks)}"
    text += f", layers in float for it: {len(looks[-1].kept)}" if looks[-1].kept else ""
    return text if enough else f"{text}; so few samples could not show it for the original itself"
