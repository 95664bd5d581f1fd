"""Layers given back to int8: only where the drop still holds, those worth most first, and all of it recorded."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from edgesmith import records
from edgesmith.compress.quantize.mixed import Option
from edgesmith.pipeline.accuracy_control import ALPHA, Control, Found, Goal, Look, keep_drop
from edgesmith.pipeline.giving_back import MOST, give_back
from edgesmith.quant import QuantPlan
from edgesmith.results import Interval, Verdict

LAYERS = tuple("abcdefgh")
NOISE = dict(zip(LAYERS, (8.0, 1.0, 4.0, 2.0, 1.0, 1.0, 1.0, 1.0)))
COST = dict(zip(LAYERS, (1.0, 2.0, 3.0, 40.0, 5.0, 6.0, 7.0, 8.0)))


@dataclass
class Bench:
    """Eight layers; harm: what each really adds to the drop in int8, in thousandths."""

    harm: dict[str, float]
    width: float = 1e-5
    broken_at: int = 10**6
    measured: list[frozenset[str]] = field(default_factory=list)

    def planner(self, kept: Collection[str]) -> QuantPlan:
        return QuantPlan("ort", {}, {name: "fp32" if name in kept else "int8" for name in LAYERS}, "x86-vnni")

    def measure(self, plan: QuantPlan) -> Found:
        self.measured.append(frozenset(name for name in LAYERS if plan.precision[name] == "fp32"))
        drop = sum(self.harm[name] for name in LAYERS if plan.precision[name] == "int8") / 1000
        if len(self.measured) > self.broken_at:
            return Found("top1", Interval(float("nan"), None, None), 0, "it crashed", "fail")
        return Found("top1", Interval(drop, drop - self.width, drop + self.width), 1000)

    def options(self) -> list[Option]:
        int8 = [Option(name, "int8", NOISE[name], 0.0) for name in LAYERS]
        return int8 + [Option(name, "fp32", 0.0, COST[name]) for name in LAYERS]

    def goal(self, max_drop: float = 0.01) -> Goal:
        unharmed = Found("top1", Interval(0.0, -1e-6, 1e-6), 1000)
        return Goal("ort-int8", max_drop, self.planner, self.measure, self.options, unharmed)

    def back(self, kept: tuple[str, ...], max_drop: float = 0.01) -> tuple[QuantPlan, Control]:
        """From a search of two looks, the second with these layers in float."""
        drop = Interval(0.5, 0.4, 0.6), Interval(0.0, -1e-6, 1e-6)
        looks = Look((), None, drop[0], "fail"), Look(kept, 0.1, drop[1], "pass")
        verdict = Verdict("max_drop", "ort-int8", "pass", "drop of top1 <= 0.01", "0, look 2")
        control = Control("ort-int8", "top1", max_drop, 1000, looks, kept, verdict)
        return give_back(self.goal(max_drop), self.planner(kept), control)


def harmful(*names: str) -> dict[str, float]:
    return {name: 500.0 if name in names else 0.1 for name in LAYERS}


@pytest.mark.parametrize("wanted", [("a",), ("d",), ("c", "h"), ("a", "d")])
def test_only_what_is_needed_stays_in_float(wanted: tuple[str, ...]) -> None:
    bench = Bench(harmful(*wanted))
    plan, control = bench.back(LAYERS)
    assert control.kept == wanted and control.verdict.state == "pass"
    assert {name for name, precision in plan.precision.items() if precision == "fp32"} == set(wanted)
    fates = {row.layer: row.fate for row in control.raised}
    assert {name for name, fate in fates.items() if fate == "needed"} == set(wanted)
    assert set(fates.values()) == {"needed", "given back"} and len(control.back) <= MOST
    assert f"given back: {8 - len(wanted)}" in control.verdict.found
    assert frozenset() not in bench.measured  # the plan of the first look is known to fail


def test_those_that_save_most_for_their_noise_come_first() -> None:
    bench = Bench(dict.fromkeys(LAYERS, 2.0))  # any five hold a drop of 0.01
    _, control = bench.back(LAYERS, max_drop=0.0101)
    assert [row.layer for row in control.raised] == ["d", "h", "g", "f", "e", "b", "c", "a"]
    assert {row.layer for row in control.raised if row.fate == "given back"} == {"d", "h", "g", "f", "e"}
    costs = {row.layer: (row.noise, row.cost, row.unit) for row in control.raised}
    assert costs["d"] == (2.0, 40.0, "multiply-accumulates")
    assert {row.layer: row.drop.value for row in control.raised if row.drop}["h"] == pytest.approx(0.008)


def test_the_bound_of_the_whole_search_stays_five_percent() -> None:
    _, control = Bench(harmful("a", "c", "e", "g")).back(LAYERS)
    before = sum(ALPHA / 2**look for look in range(1, len(control.looks) + 1))
    assert control.back and before + MOST * (1 - control.back[0].drop.confidence) == pytest.approx(ALPHA)


def test_what_is_returned_is_what_was_measured_and_held() -> None:
    bench = Bench(harmful("c"))
    plan, control = bench.back(LAYERS)
    passed = [look for look in control.back if look.state == "pass"]
    assert set(passed[-1].kept) == set(control.kept) and frozenset(control.kept) in bench.measured
    assert plan == bench.planner(control.kept)


def test_a_point_below_the_limit_is_not_enough() -> None:
    """With intervals this wide nothing but what was kept holds, though every drop is below the limit."""
    _, control = Bench(dict.fromkeys(LAYERS, 0.1), width=0.02).back(("a", "b"))
    assert control.kept == ("a", "b") and {look.state for look in control.back} == {"inconclusive"}
    assert control.verdict.found == "0, look 2"


def test_when_the_looks_are_spent_the_rest_stays_undecided_in_float() -> None:
    _, control = Bench(dict.fromkeys(LAYERS, 500.0)).back(LAYERS)
    assert control.kept == LAYERS and len(control.back) == MOST
    assert {row.fate for row in control.raised} == {"needed", "not decided"}


def test_a_crash_ends_the_giving_back_with_the_plan_that_held() -> None:
    bench = Bench(harmful("a"), broken_at=1)
    _, control = bench.back(LAYERS)
    assert control.verdict.state == "pass" and set(control.kept) == {"e", "b", "c", "a"} and len(control.back) == 1


@pytest.mark.parametrize(
    ("harm", "max_drop"), [(dict.fromkeys(LAYERS, 0.1), 0.01), (dict.fromkeys(LAYERS, 500.0), -1.0)]
)
def test_a_plan_without_kept_layers_or_without_a_pass_stays_as_it_is(harm: dict[str, float], max_drop: float) -> None:
    goal = Bench(harm).goal(max_drop)
    plan, control = keep_drop(goal)
    assert give_back(goal, plan, control) == (plan, control) and control.raised == ()


def test_a_whole_search_and_its_record(tmp_path: Path) -> None:
    """The prediction blames `a`, which is harmless; `d` is what the drop needs, and is all that stays."""
    bench = Bench(harmful("d"))
    goal = bench.goal()
    before, control = keep_drop(goal)
    _, after = give_back(goal, before, control)
    assert control.verdict.state == "pass" and set(control.kept) > {"d"} and after.kept == ("d",)
    assert [row.fate for row in after.raised if row.layer == "a"] == ["given back"]
    records.save(tmp_path / "control.json", after)
    assert records.load(Control, tmp_path / "control.json") == after
