"""The choice of precisions is exact: compared with brute force on small random problems."""

import itertools

import numpy as np
import pytest

from edgesmith.compress.quantize.mixed import Option, choose_precisions
from edgesmith.errors import UsageError

PRECISIONS = ("int8", "fp16", "fp32")


def problem(seed: int, layers: int = 5, scale: float = 1.0) -> list[Option]:
    rng = np.random.default_rng(seed)
    draw = rng.uniform(-0.2, 1.0, (layers, len(PRECISIONS), 2)) * scale
    return [
        Option(f"layer{i}", name, *map(float, draw[i, k])) for i in range(layers) for k, name in enumerate(PRECISIONS)
    ]


def every_choice(options: list[Option]) -> list[tuple[float, float]]:
    by_layer = [[o for o in options if o.layer == layer] for layer in dict.fromkeys(o.layer for o in options)]
    return [(sum(o.loss for o in pick), sum(o.cost for o in pick)) for pick in itertools.product(*by_layer)]


@pytest.mark.parametrize("scale", [1.0, 1e-7])
@pytest.mark.parametrize("seed", range(8))
def test_no_choice_within_the_budget_is_cheaper(seed: int, scale: float) -> None:
    options = problem(seed, scale=scale)
    all_choices = every_choice(options)
    losses = sorted(loss for loss, _ in all_choices)
    budget = losses[len(losses) // 4] + 1e-9 * scale
    found = choose_precisions(options, loss_budget=budget)
    assert found.loss <= budget * (1 + 1e-6) and set(found.precision) == {o.layer for o in options}
    assert found.cost == pytest.approx(min(cost for loss, cost in all_choices if loss <= budget), rel=1e-9)
    again = choose_precisions(options, cost_budget=found.cost + 1e-9 * scale)
    assert again.loss == pytest.approx(min(loss for loss, cost in all_choices if cost <= found.cost), rel=1e-9)


def test_a_choice_is_one_option_a_layer_and_its_sums() -> None:
    options = problem(1)
    found = choose_precisions(options, loss_budget=100.0)
    taken = [o for o in options if found.precision[o.layer] == o.precision]
    assert len(taken) == 5
    assert found.loss == pytest.approx(sum(o.loss for o in taken))
    assert found.cost == pytest.approx(sum(o.cost for o in taken))


@pytest.mark.parametrize("kind", ["loss_budget", "cost_budget"])
def test_a_budget_nobody_keeps_names_the_nearest(kind: str) -> None:
    options = [Option("a", "int8", 0.5, 1.0), Option("a", "fp32", 0.25, 4.0), Option("b", "int8", 0.125, 2.0)]
    nearest = 0.375 if kind == "loss_budget" else 3.0
    with pytest.raises(UsageError, match=f"{nearest:g}"):
        choose_precisions(options, **{kind: nearest / 2})
    kept = choose_precisions(options, **{kind: nearest})
    assert kept.precision["a"] == ("fp32" if kind == "loss_budget" else "int8")


def test_budgets_and_numbers_are_checked() -> None:
    options = problem(0)
    for budgets in ({}, {"loss_budget": 1.0, "cost_budget": 1.0}):
        with pytest.raises(UsageError, match="one budget"):
            choose_precisions(options, **budgets)
    with pytest.raises(UsageError, match="not finite"):
        choose_precisions([Option("a", "int8", float("nan"), 1.0)], loss_budget=1.0)
    with pytest.raises(UsageError, match="no options"):
        choose_precisions([], loss_budget=1.0)
