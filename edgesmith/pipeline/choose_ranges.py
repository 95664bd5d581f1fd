"""Try every way to choose ranges and keep the best, by samples that calibration has not seen."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import torch

from edgesmith.compress.quantize.corrections import USUAL, Corrections
from edgesmith.compress.quantize.simulate import Simulation
from edgesmith.errors import UsageError
from edgesmith.graph.program import Program
from edgesmith.metrics import cosine
from edgesmith.pipeline.produce import calibrate, plan_targets, tensor_batches
from edgesmith.pipeline.sources import Inputs
from edgesmith.quant import QuantPlan, RangeMethod, RangeRecord
from edgesmith.tensors import Preprocessing

METHODS: tuple[RangeMethod, ...] = get_args(RangeMethod)
Ranges = Literal["auto"] | RangeMethod
Score = Callable[[QuantPlan], float]
_HELD_OUT = 5  # of so many calibration samples, one is kept back to judge by
_JUDGED = 64  # at most
_PIECE = 8


@dataclass(frozen=True)
class RangesChoice:
    """The method whose plan scored best, and the score of every method (NaN: none)."""

    method: RangeMethod
    scores: Mapping[RangeMethod, float]

    @property
    def note(self) -> str:
        """The choice in words."""
        found = ", ".join(f"{method} {score:.5f}" for method, score in self.scores.items())
        return f"ranges by {self.method}: likeness to the float model on held-out calibration samples: {found}"


def check_ranges(ranges: str) -> Ranges:
    """A word of the command line as the type. Raises: UsageError for another one."""
    known = ("auto", *METHODS)
    if ranges not in known:
        raise UsageError(f"ranges by {ranges!r}", "no such method", f"choose from: {', '.join(known)}")
    return ranges  # type: ignore[return-value]


def best_ranges(
    plan_by: Callable[[RangeMethod], QuantPlan], score: Score, methods: Collection[RangeMethod] = METHODS
) -> RangesChoice:
    """The method whose plan scores highest; of equals the first. Raises: UsageError when none has a score."""
    scores = {method: score(plan_by(method)) for method in methods}
    known = {method: value for method, value in scores.items() if not math.isnan(value)}
    if not known:
        raise UsageError(f"choose from {', '.join(methods)}", "no plan has a score", "look at the held-out samples")
    return RangesChoice(max(known, key=known.__getitem__), scores)


def calibrate_and_choose(
    program: Program,
    inputs: Inputs,
    preprocessing: Preprocessing | None,
    names: Sequence[str],
    batch: int,
    corrections: Corrections = USUAL,
) -> tuple[RangeRecord, dict[str, RangesChoice]]:
    """One pass over all samples, and the best method for each target: a fifth of them judges plans of the others.

    Raises: UsageError for fewer than two samples.
    """
    rows = np.arange(inputs.count)
    outside = rows % _HELD_OUT == min(_HELD_OUT, inputs.count) - 1
    if not outside.any() or outside.all():
        raise UsageError("choose ranges by held-out samples", f"{inputs.count} samples", "give more, or name a method")
    ranges = calibrate(program, _taken(inputs, ~outside), preprocessing, batch)
    judge = likeness(program, _taken(inputs, np.flatnonzero(outside)[:_JUDGED]), preprocessing)
    chosen = {}
    for name in names:

        def plan_by(method: RangeMethod, name: str = name) -> QuantPlan:
            found = plan_targets(program, ranges, (name,), ranges_by=method, corrections=corrections)
            return next(iter(found.values()))

        chosen[name] = best_ranges(plan_by, judge)
    return calibrate(program, _taken(inputs, outside), preprocessing, batch, ranges), chosen


def likeness(program: Program, held_out: Inputs, preprocessing: Preprocessing | None) -> Score:
    """Mean cosine of a plan's outputs, simulated in torch, to the float model's; the mean over several outputs.

    A row of one number has no direction: there it is 1 less the share of the spread that is error.
    """
    size = _PIECE if program.batch_is_symbolic else len(program.example[0])
    batches = tensor_batches(program.inputs, held_out, preprocessing, size)
    whole = [b for b in batches if program.batch_is_symbolic or len(b[0]) == size]

    def score(plan: QuantPlan) -> float:
        simulation = Simulation(program, plan)
        wanted, given = [], []
        with torch.no_grad():
            for batch in whole:
                values = simulation.values(batch)
                wanted.append(simulation.outputs(values))
                given.append(simulation.run(values, simulation.layers).outputs)
        pairs = zip(map(torch.cat, zip(*wanted)), map(torch.cat, zip(*given)))
        return float(np.mean([_alike(want.numpy(), have.numpy()) for want, have in pairs]))

    return score


def _alike(wanted: np.ndarray, given: np.ndarray) -> float:
    if wanted[0].size > 1:
        return float(cosine(wanted, given).mean())
    return 1 - float(np.mean((wanted - given) ** 2)) / max(float(np.var(wanted)), 1e-30)


def _taken(inputs: Inputs, rows: np.ndarray) -> Inputs:
    return replace(inputs, arrays={name: array[rows] for name, array in inputs.arrays.items()}, labels=None)
