"""Which precision each layer gets: the cheapest choice within a budget of loss, or the best within one of time.

Losses and costs of layers are taken to add up, so that the choice is an integer program (one precision a layer, one
row for the budget), which HiGHS solves exactly for nets of any depth here.
Source: the additive model of HAWQ-V3, Yao et al. 2021, arXiv 2011.10680, equation 5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from edgesmith.errors import EdgesmithError, UsageError


@dataclass(frozen=True)
class Option:
    """One layer in one precision: what it adds to the loss, and what it costs (ms, or any unit common to all)."""

    layer: str
    precision: str
    loss: float
    cost: float


@dataclass(frozen=True)
class Choice:
    """A precision for every layer, with the loss and the cost that the options add up to."""

    precision: Mapping[str, str]
    loss: float
    cost: float


def choose_precisions(
    options: Sequence[Option], loss_budget: float | None = None, cost_budget: float | None = None
) -> Choice:
    """The cheapest choice whose loss is within `loss_budget`, or that of the smallest loss within `cost_budget`.

    Exactly one budget is given. Raises: UsageError for options that are not finite, or for a budget that no choice
    keeps, naming the nearest one that can be kept.
    """
    if (loss_budget is None) == (cost_budget is None):
        found = "both" if loss_budget is not None else "none"
        raise UsageError("choose precisions within one budget", f"{found} given", "give the one of loss or of cost")
    if not options or not all(np.isfinite([option.loss, option.cost]).all() for option in options):
        raise UsageError("choose precisions", "no options, or some that are not finite", "measure the layers again")
    loss, cost = np.array([o.loss for o in options]), np.array([o.cost for o in options])
    by_loss = loss_budget is not None
    budget = loss_budget if loss_budget is not None else cost_budget
    aim, limited = (cost, loss) if by_loss else (loss, cost)
    layers = list(dict.fromkeys(option.layer for option in options))
    belongs = np.array([[option.layer == layer for option in options] for layer in layers], float)
    _check_budget("loss" if by_loss else "cost", float(budget or 0.0), belongs, limited)
    picked = _solve(aim, limited, float(budget or 0.0), belongs)
    chosen = [option for option, taken in zip(options, picked) if taken]
    return Choice({o.layer: o.precision for o in chosen}, sum(o.loss for o in chosen), sum(o.cost for o in chosen))


def _check_budget(kind: str, budget: float, belongs: np.ndarray, limited: np.ndarray) -> None:
    nearest = sum(float(limited[row > 0].min()) for row in belongs)
    if nearest > budget and not np.isclose(nearest, budget, rtol=1e-9, atol=0):
        found = f"the best choice of all has {nearest:.4g}"
        todo = f"give a budget of {nearest:.4g} or more, or other precisions"
        raise UsageError(f"choose precisions within a {kind} of {budget:.4g}", found, todo)


def _solve(aim: np.ndarray, limited: np.ndarray, budget: float, belongs: np.ndarray) -> np.ndarray:
    """0 or 1 for each option. Sums are scaled to about 1: a solver's tolerances are absolute."""
    unit, worth = max(np.abs(limited).max(), 1e-300), max(np.abs(aim).max(), 1e-300)
    within = LinearConstraint(limited[None] / unit, -np.inf, budget / unit + 1e-9)
    one_each = LinearConstraint(belongs, 1, 1)
    settings = {"mip_rel_gap": 0.0}
    bounds = Bounds(0, 1)
    found = milp(
        aim / worth, integrality=np.ones(len(aim)), bounds=bounds, constraints=[within, one_each], options=settings
    )
    if not found.success:
        raise EdgesmithError("choose precisions", f"the solver stopped: {found.message}", "please report this as a bug")
    return np.rint(found.x).astype(int)
