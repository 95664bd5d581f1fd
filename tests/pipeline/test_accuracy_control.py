"""The search that keeps a drop: decided by the end of the interval, never passed silently, honest about few samples."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

import numpy as np
import pytest

from edgesmith import intervals
from edgesmith.compress.quantize.mixed import Option
from edgesmith.pipeline.accuracy_control import MOST_LOOKS, Control, Found, Goal, keep_drop, spent
from edgesmith.quant import QuantPlan
from edgesmith.results import Interval

LAYERS = ("a", "b", "c", "d")
NOISE = {"a": 8.0, "b": 1.0, "c": 4.0, "d": 2.0}


@dataclass
class Net:
    """Four layers; the drop of a plan is a function of the layers it quantizes."""

    drop: Callable[[frozenset[str]], Found]
    asked: int = 0
    plans: list[frozenset[str]] = field(default_factory=list)

    def planner(self, kept: Collection[str]) -> QuantPlan:
        return QuantPlan("ort", {}, {name: "fp32" if name in kept else "int8" for name in LAYERS}, "x86-vnni")

    def measure(self, plan: QuantPlan) -> Found:
        integer = frozenset(name for name, precision in plan.precision.items() if precision == "int8")
        self.plans.append(integer)
        return self.drop(integer)

    def options(self) -> list[Option]:
        self.asked += 1
        int8 = [Option(name, "int8", NOISE[name], 0.0) for name in LAYERS]
        return int8 + [Option(name, "fp32", 0.0, 1.0) for name in LAYERS]

    def control(self, max_drop: float, original: Found | None = None) -> tuple[QuantPlan, Control]:
        unharmed = original or Found("top1", Interval(0.0, -1e-6, 1e-6), 1000)
        return keep_drop(Goal("ort-int8", max_drop, self.planner, self.measure, self.options, unharmed))


def sharp(integer: frozenset[str]) -> Found:
    """A drop in proportion to the noise, known well."""
    drop = sum(NOISE[name] for name in integer) / 1000
    return Found("top1", Interval(drop, drop - 1e-4, drop + 1e-4), 1000)


def test_a_plan_that_holds_at_once_costs_one_look_and_no_sensitivity() -> None:
    net = Net(sharp)
    plan, control = net.control(0.02)
    assert control.verdict.state == "pass" and len(control.looks) == 1 and net.asked == 0
    assert set(plan.precision.values()) == {"int8"} and control.kept == ()


def test_the_most_sensitive_layers_go_to_float_until_it_holds() -> None:
    net = Net(sharp)
    plan, control = net.control(0.009)
    assert control.verdict.state == "pass"
    assert control.kept == ("a",) and [look.state for look in control.looks] == ["fail", "pass"]
    assert plan.precision == {"a": "fp32", "b": "int8", "c": "int8", "d": "int8"}
    assert net.plans[-1] == {"b", "c", "d"}  # what is returned is what was measured last


def test_a_net_that_never_holds_ends_in_float_and_fails() -> None:
    net = Net(lambda integer: Found("top1", Interval(0.3, 0.2, 0.4), 1000))
    plan, control = net.control(0.01)
    assert control.verdict.state == "fail" and len(control.looks) <= MOST_LOOKS
    assert set(plan.precision.values()) == {"fp32"} and control.kept == LAYERS
    assert "top1" in control.verdict.asked and "0.3" in control.verdict.found


def test_the_point_is_not_enough_the_end_of_the_interval_must_hold() -> None:
    net = Net(lambda integer: Found("top1", Interval(0.001, -0.02, 0.02), 100))
    _, control = net.control(0.01)
    assert control.verdict.state == "inconclusive" and control.verdict.more is not None and control.verdict.more > 0


def test_so_few_samples_that_the_original_would_not_hold_are_said_at_once() -> None:
    right = np.ones(40, bool)
    same = Found("top1", intervals.paired_drop(right, right), 40)
    net = Net(lambda integer: same)
    _, control = net.control(0.01, same)
    assert control.verdict.state == "inconclusive" and len(control.looks) == 1
    assert "original itself" in control.verdict.found
    enough = 40 + (control.verdict.more or 0)
    bound = spent(intervals.paired_drop(np.ones(enough, bool), np.ones(enough, bool)), 1).high
    assert bound is not None and bound <= 0.01  # so many more would indeed have done


@pytest.mark.parametrize("broken", ["fail", "not_measured"])
def test_a_target_that_gives_no_outputs_is_no_pass(broken: str) -> None:
    nothing = Found("top1", Interval(float("nan"), None, None), 0, "it crashed", broken)  # type: ignore[arg-type]
    _, control = Net(lambda integer: nothing).control(0.5)
    assert control.verdict.state == broken and control.verdict.found == "it crashed" and len(control.looks) == 1


def test_all_looks_together_err_with_five_percent() -> None:
    one = Interval(0.1, 0.0, 0.3)
    widths = [(spent(one, look).high or 0) - 0.1 for look in (1, 2, 3)]
    assert widths[0] == pytest.approx(0.2 * 2.2414 / 1.95996, rel=1e-4)  # the normal quantile of 1 - 0.025 / 2
    assert widths == sorted(widths)
    errors = [1 - spent(one, look).confidence for look in range(1, 40)]
    assert sum(errors) == pytest.approx(0.05, rel=1e-6)
    assert spent(Interval(0.1, None, None), 1).high is None


def test_lucky_looks_at_a_net_on_the_edge_pass_rarely() -> None:
    """True drop twice the limit, six fresh looks at noise: with plain 95 % intervals far more would pass."""
    rng = np.random.default_rng(0)

    def noisy(integer: frozenset[str]) -> Found:
        value = 0.01 + rng.normal() * 0.01  # the limit lies 1 standard error above what holds for sure
        return Found("top1", Interval(value, value - 0.0196, value + 0.0196), 1000)

    passed = sum(Net(noisy).control(0.0101)[1].verdict.state == "pass" for _ in range(400))
    assert passed / 400 <= 0.05
