"""The layers that must stay in float: one, two that need each other, under noise, within a budget, or none at all."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest

from edgesmith.errors import UsageError
from edgesmith.results import State
from edgesmith.verify.bisect import Bisection, Judged, bisect

LAYERS = tuple(f"body.{i}" for i in range(40))


def passes_with(*needed: str) -> Callable[[frozenset[str]], Judged]:
    return lambda raised: Judged("pass" if raised >= set(needed) else "fail", f"{len(raised)}")


@pytest.mark.parametrize("bad", LAYERS)
def test_one_bad_layer_is_found_in_a_few_rebuilds(bad: str) -> None:
    found = bisect(LAYERS, passes_with(bad))
    assert found.outcome == "healed" and found.raised == (bad,) and found.needed and found.judged.state == "pass"
    assert len(found.rebuilds) <= 2 + 2 * math.ceil(math.log2(len(LAYERS)))


@pytest.mark.parametrize("pair", [(0, 39), (3, 4), (19, 20), (7, 31)])
def test_two_layers_that_heal_only_together_are_both_found(pair: tuple[int, int]) -> None:
    names = tuple(LAYERS[i] for i in pair)
    found = bisect(LAYERS, passes_with(*names), most=100)
    assert found.raised == names and found.needed


def test_every_small_set_is_found_exactly() -> None:
    few = LAYERS[:7]
    for size in (1, 2, 3):
        for bad in itertools.combinations(few, size):
            assert bisect(few, passes_with(*bad), most=100).raised == bad


def test_either_of_two_layers_is_enough() -> None:
    found = bisect(LAYERS, lambda raised: Judged("pass" if raised & {LAYERS[5], LAYERS[30]} else "fail", ""))
    assert found.raised in ((LAYERS[5],), (LAYERS[30],)) and found.needed


def test_noise_of_the_judge_costs_layers_and_never_the_limit() -> None:
    """An interval that is sometimes too wide to pass: what comes out passed as it was judged, and holds the bad one."""
    rng, small = np.random.default_rng(0), 0
    for _ in range(50):
        bad = str(rng.choice(LAYERS))

        def judge(raised: frozenset[str], bad: str = bad) -> Judged:
            unlucky = raised and rng.random() < 0.1 and len(raised) < len(LAYERS)
            return Judged("inconclusive" if bad in raised and unlucky else passes_with(bad)(raised).state, "")

        found = bisect(LAYERS, judge)
        assert found.outcome == "healed" and bad in found.raised and found.judged.state == "pass"
        small += len(found.raised) <= 2
    assert small >= 35


def test_the_rebuilds_are_bounded_and_told() -> None:
    told: list[str] = []
    found = bisect(LAYERS, passes_with(*LAYERS[::2]), most=12, say=told.append)
    assert len(found.rebuilds) == len(told) == 12 and not found.needed
    assert found.outcome == "healed" and set(found.raised) >= set(LAYERS[::2])
    assert told[0].startswith("rebuild 1 of at most 12, 0 of 40 layers in float: fail")
    assert len({one.raised for one in found.rebuilds}) == 12  # nothing is judged twice


@pytest.mark.parametrize(
    ("none", "every", "outcome", "count"),
    [("pass", "pass", "holds", 1), ("fail", "fail", "not quantization", 2), ("not_measured", "pass", "undecided", 1),
     ("fail", "inconclusive", "undecided", 2), ("inconclusive", "not_measured", "undecided", 2)],
)  # fmt: skip
def test_what_bisecting_cannot_heal(none: State, every: State, outcome: str, count: int) -> None:
    found: Bisection = bisect(LAYERS, lambda raised: Judged(every if raised else none, "so"))
    assert found.outcome == outcome and len(found.rebuilds) == count


def test_bad_questions_are_refused() -> None:
    for layers, most in (((), 9), (("a", "a"), 9), (("a",), 1)):
        with pytest.raises(UsageError, match="bisect layers"):
            bisect(layers, passes_with("a"), most)
