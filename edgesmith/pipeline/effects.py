"""What each correction is worth: the plan with it and without, on samples that neither has seen.

Plans are simulated in torch (compress/quantize/simulate.py) and compared with the float model, so a row costs a plan
and a few forward passes and no file. All but one correction stay as they are (leave one out). Learned rounding is the
last one applied: it is measured with all others, and the others without it.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from edgesmith import intervals, records
from edgesmith.compress.quantize.corrections import CORRECTIONS, Corrections
from edgesmith.compress.quantize.simulate import Simulation
from edgesmith.graph.program import Program
from edgesmith.graph.rewrite import fold_batchnorm
from edgesmith.metrics import cosine
from edgesmith.pipeline.produce import calibrate, correcting, plan_targets, tensor_batches
from edgesmith.pipeline.refining import rounded
from edgesmith.pipeline.sources import Inputs, Source
from edgesmith.quant import QuantPlan, RangeMethod, RangeRecord
from edgesmith.results import Interval

JUDGED = 32  # samples
_CALIBRATED = 100  # at most, where some calibration samples are kept back to judge by
_PIECE = 8
_SILENCE = 1e-20  # noise over signal that counts as none: 200 dB


@dataclass(frozen=True)
class Effect:
    """One correction switched the other way. gain_db: signal over noise with it less that without, paired by sample.

    cosine, sqnr_db: of the plan without it, or with it where it is off; means over the samples, cosine None for outputs
    of one number.
    """

    correction: str
    on: bool
    cosine: float | None
    sqnr_db: float
    gain_db: Interval
    note: str = ""


@dataclass(frozen=True)
class Effects:
    """The plan of a target as it is, and a row for each correction. judged_on: where the samples are from."""

    target: str
    samples: int
    judged_on: str
    cosine: float | None
    sqnr_db: float
    rows: tuple[Effect, ...]
    seconds: float


@dataclass(frozen=True)
class Case:
    """What plans are made from, and what judges them. correct_on: samples of the bias correction's pass."""

    program: Program
    source: Source
    ranges: RangeRecord
    calibration: Inputs
    correct_on: tuple[Tensor, ...]
    judge: Inputs
    judged_on: str


def load_effects(folder: Path) -> tuple[Effects, ...]:
    """What `save_quantized` wrote of them, a target's each."""
    return tuple(records.load(Effects, path) for path in sorted(folder.glob("effects-*.json")))


def case_of(
    program: Program, source: Source, inputs: Inputs, held_out: Inputs | None, ranges: RangeRecord, batch: int
) -> Case | None:
    """The samples to judge by: held-out ones, else a fifth of those for calibration, and then plans of the others.

    None where there are too few.
    """
    preprocessing = source.preprocessing
    least = 1 if program.batch_is_symbolic else len(program.example[0])  # of each kind
    if held_out is not None and held_out.count >= least:
        seen, judge, where = inputs, _spread(held_out, JUDGED), "held-out samples"
    elif inputs.count >= max(10, 5 * least + 5):
        last = np.arange(inputs.count) % 5 == 4
        seen, judge = _spread(_rows(inputs, ~last), _CALIBRATED), _spread(_rows(inputs, last), JUDGED)
        ranges, where = calibrate(program, seen, preprocessing, batch), "calibration samples kept back"
    else:
        return None
    return Case(program, source, ranges, seen, correcting(program, seen, preprocessing), judge, where)


def measure_effects(
    case: Case, target: str, corrections: Corrections, keep_float: Collection[str], method: RangeMethod, batch: int
) -> Effects:
    """A row for each correction of a plan, and one for learned rounding where that is asked for."""
    started = time.monotonic()
    batches = _batches(case)
    wanted = [_as_tuple(case.program.module(*inputs)) for inputs in batches]

    def planned(switches: Corrections) -> QuantPlan:
        samples = case.correct_on
        found = plan_targets(case.program, case.ranges, (target,), keep_float, method, samples, switches)
        return next(iter(found.values()))

    plan = planned(corrections)
    own = last = _score(case.program, plan, batches, wanted)
    rows = [_folding(case.program, batches, wanted)]
    for name in CORRECTIONS:
        on = bool(getattr(corrections, name))
        other = planned(replace(corrections, **{name: not on}))
        if _same(plan, other):
            rows.append(Effect(name, on, own.cosine, own.sqnr_db, Interval(0, 0, 0), "nothing here for it to do"))
        else:
            rows.append(_effect(name, on, own, _score(case.program, other, batches, wanted)))
    if corrections.adaround:
        learned = rounded(case.program, case.calibration, case.source, batch, plan)
        last = _score(case.program, learned, batches, wanted)
        rows.append(_effect("adaround", True, last, own))
    seconds = time.monotonic() - started
    return Effects(target, len(own.db), case.judged_on, last.cosine, last.sqnr_db, tuple(rows), seconds)


@dataclass(frozen=True)
class _Score:
    """Shape: cosines, db (N,)."""

    cosines: np.ndarray | None
    db: np.ndarray

    @property
    def cosine(self) -> float | None:
        return None if self.cosines is None else float(self.cosines.mean())

    @property
    def sqnr_db(self) -> float:
        return float(self.db.mean())


def _effect(name: str, on: bool, own: _Score, other: _Score) -> Effect:
    gain = own.db - other.db if on else other.db - own.db
    return Effect(name, on, other.cosine, other.sqnr_db, intervals.mean(gain))


def _folding(program: Program, batches: Sequence[tuple[Tensor, ...]], wanted: Sequence[tuple[Tensor, ...]]) -> Effect:
    """Folded batch norms compute the same: how nearly, is all there is to measure."""
    folded = fold_batchnorm(program).module
    found = _scored(wanted, [_as_tuple(folded(*inputs)) for inputs in batches])
    note = "always on; what is shown is the folded float net against the original"
    return Effect("fold_batchnorm", True, found.cosine, found.sqnr_db, Interval(0, None, None), note)


def _score(
    program: Program, plan: QuantPlan, batches: Sequence[tuple[Tensor, ...]], wanted: Sequence[tuple[Tensor, ...]]
) -> _Score:
    simulation = Simulation(program, plan)
    with torch.no_grad():
        given = [simulation.run(simulation.values(inputs), simulation.layers).outputs for inputs in batches]
    return _scored(wanted, given)


def _scored(wanted: Sequence[tuple[Tensor, ...]], given: Sequence[tuple[Tensor, ...]]) -> _Score:
    """Each sample's signal over noise, in dB, and its cosine where outputs have a direction; means over the outputs."""
    ratios, cosines = [], []
    for want, have in zip(map(torch.cat, zip(*wanted)), map(torch.cat, zip(*given))):
        want, have = want.detach().flatten(1).double(), have.detach().flatten(1).double()
        ratios.append(((want - have).square().sum(1) / want.square().sum(1).clamp_min(1e-30)).numpy())
        if want.shape[1] > 1:
            cosines.append(cosine(want.numpy(), have.numpy()))
    db = -10 * np.log10(np.maximum(np.mean(ratios, axis=0), _SILENCE))
    return _Score(np.mean(cosines, axis=0) if cosines else None, db)


def _same(plan: QuantPlan, other: QuantPlan) -> bool:
    """Whether two plans say the same, but for their notes."""
    return replace(plan, notes=()).digest() == replace(other, notes=()).digest()


def _batches(case: Case) -> list[tuple[Tensor, ...]]:
    size = _PIECE if case.program.batch_is_symbolic else len(case.program.example[0])
    found = tensor_batches(case.program.inputs, case.judge, case.source.preprocessing, size)
    return [piece for piece in found if case.program.batch_is_symbolic or len(piece[0]) == size]


def _as_tuple(value: object) -> tuple[Tensor, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)  # type: ignore[return-value]


def _spread(inputs: Inputs, most: int) -> Inputs:
    return _rows(inputs, np.unique(np.linspace(0, inputs.count - 1, min(most, inputs.count)).astype(int)))


def _rows(inputs: Inputs, rows: np.ndarray) -> Inputs:
    return replace(inputs, arrays={name: array[rows] for name, array in inputs.arrays.items()}, labels=None)
