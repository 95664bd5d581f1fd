"""The quantize step as a whole: a plan a family, with layers in float where the user, the accuracy or a budget asks."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgesmith import records
from edgesmith.compress.quantize.mixed import Option, choose_precisions
from edgesmith.compress.quantize.sensitivity import Batch, Sensitivities, sensitivities
from edgesmith.compress.quantize.take_out import take_out
from edgesmith.data.split import Evaluation
from edgesmith.errors import EngineFailed, UsageError
from edgesmith.graph.program import Program
from edgesmith.pipeline.accuracy_control import Control, Found, Goal, keep_drop
from edgesmith.pipeline.bisecting import bisect_drop
from edgesmith.pipeline.choose_ranges import RangesChoice, calibrate_and_choose
from edgesmith.pipeline.effects import Effects, case_of, measure_effects
from edgesmith.pipeline.float_layers import FloatLayer, float_layers
from edgesmith.pipeline.giving_back import give_back
from edgesmith.pipeline.judge import REFERENCE, run_outputs
from edgesmith.pipeline.judged_drop import NONE, drop_of, metric_of
from edgesmith.pipeline.layer_latency import LayerLatency, Where, groups_of, measured_latency, time_verdict, work_of
from edgesmith.pipeline.plans import save_plans
from edgesmith.pipeline.produce import (
    build_targets,
    calibrate,
    correcting,
    plan_targets,
    tensor_batches,
)
from edgesmith.pipeline.refining import rounded
from edgesmith.pipeline.sources import Inputs, Source
from edgesmith.pipeline.wishes import Wishes, check_wishes
from edgesmith.quant import QuantPlan, RangeMethod, RangeRecord
from edgesmith.results import Verdict
from edgesmith.targets import target
from edgesmith.tensors import Arrays

Say = Callable[[str], None]
Planner = Callable[[str, Collection[str]], QuantPlan]  # target, paths kept in float -> the plan of its family
SENSITIVITY_SAMPLES = 16
_PIECE = 8


@dataclass(frozen=True)
class Setting:
    """The model at hand, held-out samples to judge by (None: there are none), and the device that runs them."""

    program: Program
    source: Source
    calibration: Inputs
    held_out: Inputs | None
    evaluation: Evaluation | None
    device: Any
    say: Say


@dataclass(frozen=True)
class Quantized:
    """A family's plan, and what was measured to find it.

    asked: paths kept in float by the user. kept: layers kept in float for the accuracy, or because time allows it.
    predicted_ms: all int8 and what the kept layers cost more, by what was measured of their groups; timed: whether the
    plan's own artefact then holds the time. Both only where a time was asked for.
    """

    target: str
    program: Program
    plan: QuantPlan
    asked: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    sensitivities: Sensitivities | None = None
    latency: LayerLatency | None = None
    predicted_ms: float | None = None
    control: Control | None = None
    timed: Verdict | None = None
    effects: Effects | None = None

    @property
    def measured(self) -> dict[str, Any]:
        """What was measured of layers and corrections, by kind; None where it was not."""
        return {"sensitivity": self.sensitivities, "latency": self.latency, "effects": self.effects}

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """Whether the plan holds what it was to hold, as its artefact was measured."""
        own = self.control.verdict if self.control is not None else None
        return tuple(verdict for verdict in (own, self.timed) if verdict is not None)

    @property
    def floats(self) -> tuple[FloatLayer, ...]:
        """What the plan leaves in float, and why."""
        why = "needed for the accuracy" if self.predicted_ms is None else "the time allows it"
        return float_layers(self.program, self.plan, self.asked, self.kept, why)


def save_quantized(folder: Path, ranges: RangeRecord, found: Sequence[Quantized]) -> None:
    """ranges.json, a plan a family, and <kind>-<family>.json of what was measured to find them."""
    save_plans(folder, ranges, {made.plan.family: made.plan for made in found})
    for made in found:
        for name, record in {**made.measured, "control": made.control, "time": made.timed}.items():
            file = folder / f"{name}-{made.plan.family}.json"
            if record is not None:
                records.save(file, record)
            else:
                file.unlink(missing_ok=True)  # of an earlier plan


def quantized(
    setting: Setting,
    names: Sequence[str],
    wishes: Wishes,
    batch: int = 50,
    learned: QuantPlan | None = None,
) -> tuple[RangeRecord, tuple[Quantized, ...]]:
    """Calibrate once, and find a plan for each family of the int8 targets.

    learned: what training aware of quantization ended in, for its family; layers that are to stay in float are taken
    out of it, and the others keep what they have learned.
    Raises: UsageError for wishes that exclude each other or lack data, for calibration inputs that say nothing, or for
    a budget that no plan keeps.
    """
    check_wishes(wishes, setting.program.inputs, setting.held_out)
    setting.say(f"calibrate with {setting.calibration.count} samples ...")
    ranges, chosen = _calibrated(setting, names, wishes, batch)
    samples = correcting(setting.program, setting.calibration, setting.source.preprocessing)
    fixed: RangeMethod = "mse" if wishes.ranges == "auto" else wishes.ranges

    def planner(name: str, kept: Collection[str]) -> QuantPlan:
        if learned is not None and target(name).family == learned.family:
            return take_out(setting.program, learned, kept, ranges) if kept else learned
        choice = chosen.get(name)
        method = choice.method if choice else fixed
        found = plan_targets(setting.program, ranges, (name,), kept, method, samples, wishes.corrections)
        plan = next(iter(found.values()))
        if wishes.corrections.adaround:
            plan = rounded(setting.program, setting.calibration, setting.source, batch, plan)
        return replace(plan, notes=(*plan.notes, choice.note)) if choice else plan

    found = quantize_all(setting, planner, names, wishes)
    for made in found:
        if "int8" not in made.plan.precision.values():
            setting.say(f"warning: {made.target}: no layer of the plan is quantized, so its artefact computes in float")
    if not wishes.effects:
        return ranges, found
    methods = {made.target: chosen[made.target].method if made.target in chosen else fixed for made in found}
    return ranges, _with_effects(setting, wishes, ranges, batch, found, methods, learned)


def _with_effects(
    setting: Setting,
    wishes: Wishes,
    ranges: RangeRecord,
    batch: int,
    found: Sequence[Quantized],
    methods: Mapping[str, RangeMethod],
    learned: QuantPlan | None,
) -> tuple[Quantized, ...]:
    """What each correction is worth to each plan; not to one that was trained, whose numbers are learned."""
    case = case_of(setting.program, setting.source, setting.calibration, setting.held_out, ranges, batch)
    if case is None:
        setting.say("warning: too few samples: what each correction is worth is not measured")
        return tuple(found)
    made = []
    for one in found:
        if learned is not None and one.plan.family == learned.family:
            made.append(one)
            continue
        setting.say(f"{one.target}: what each correction is worth ...")
        effects = measure_effects(case, one.target, wishes.corrections, wishes.keep_float, methods[one.target], batch)
        made.append(replace(one, effects=effects))
    return tuple(made)


def _calibrated(
    setting: Setting, names: Sequence[str], wishes: Wishes, batch: int
) -> tuple[RangeRecord, dict[str, RangesChoice]]:
    """What calibration saw, and with ranges "auto" the choice for each int8 target."""
    program, inputs, preprocessing = setting.program, setting.calibration, setting.source.preprocessing
    if wishes.ranges != "auto":
        return calibrate(program, inputs, preprocessing, batch), {}
    int8 = [name for name in names if target(name).family]
    ranges, chosen = calibrate_and_choose(program, inputs, preprocessing, int8, batch, wishes.corrections)
    for name, choice in chosen.items():
        setting.say(f"{name}: {choice.note}")
    return ranges, chosen


def load_controls(folder: Path) -> tuple[Control, ...]:
    """How the plans that `save_quantized` wrote were found to keep a drop."""
    return tuple(records.load(Control, path) for path in sorted(folder.glob("control-*.json")))


def load_verdicts(folder: Path) -> tuple[Verdict, ...]:
    """Whether the plans that `save_quantized` wrote hold what they were to hold."""
    controls = [control.verdict for control in load_controls(folder)]
    return (*controls, *(records.load(Verdict, path) for path in sorted(folder.glob("time-*.json"))))


def quantize_all(setting: Setting, planner: Planner, names: Sequence[str], wishes: Wishes) -> tuple[Quantized, ...]:
    """One plan for each family of the int8 targets among `names`, measured on the first target of the family."""
    first: dict[str, str] = {}
    for name in names:
        if family := target(name).family:
            first.setdefault(family, name)
    with tempfile.TemporaryDirectory() as work:
        reference = _Reference(setting, Path(work))
        return tuple(
            _Family(setting, planner, name, wishes, Path(work) / name, reference).found() for name in first.values()
        )


@dataclass
class _Reference:
    """The original's answers to the held-out samples, made once."""

    setting: Setting
    folder: Path

    @cached_property
    def outputs(self) -> Arrays:
        try:
            return _run(self.setting, REFERENCE, {}, self.folder / "original")
        except EngineFailed as error:
            raise UsageError(
                "run the original on the held-out samples", error.found, "give samples it takes"
            ) from error


@dataclass
class _Family:
    """The search for one family's plan; what is expensive is measured once, when somebody asks for it."""

    setting: Setting
    planner: Planner
    name: str
    wishes: Wishes
    folder: Path
    reference: _Reference

    def found(self) -> Quantized:
        plan, kept, control = self.plan(()), tuple[str, ...](), None
        predicted, timed = None, None
        if (max_ms := self.wishes.max_ms) is not None:
            kept, predicted = within_ms(self.name, self.options(), self.latency.all_int8_ms, max_ms)
            plan, timed = self.plan(kept), self._timed(kept, max_ms)
            self.setting.say(f"{self.name}: {predicted:.4g} ms predicted, {timed.found}: {timed.state}")
        elif self.wishes.max_drop is not None:
            goal = self._goal(self.wishes.max_drop)
            say = self.setting.say
            plan, control = bisect_drop(goal, say) if self.wishes.bisect else give_back(goal, *keep_drop(goal))
            kept = control.kept
            self.setting.say(f"{self.name}: {control.verdict.state}: {control.verdict.asked}: {control.verdict.found}")
        measured = self.__dict__  # what the search has asked for
        found, latency = measured.get("sensitivities"), measured.get("latency")
        asked = self.wishes.keep_float
        return Quantized(self.name, self.setting.program, plan, asked, kept, found, latency, predicted, control, timed)

    def _timed(self, kept: tuple[str, ...], max_ms: float) -> Verdict:
        """Whether the artefact with these layers in float holds the time."""
        return time_verdict(self._measured([kept], "chosen"), max_ms)

    def _measured(self, groups: Sequence[tuple[str, ...]], folder: str) -> LayerLatency:
        where = Where(self.setting.device, self.folder / folder, self.setting.say, self.wishes.threads)
        return measured_latency(self.setting.program, self.setting.source, self.name, self.plan, groups, where)

    def plan(self, kept: Collection[str]) -> QuantPlan:
        return self.planner(self.name, {*self.wishes.keep_float, *kept})

    @cached_property
    def sensitivities(self) -> Sensitivities:
        self.setting.say(f"{self.name}: sensitivity of each layer ...")
        return sensitivities(self.setting.program, self.plan(()), _few_batches(self.setting))

    @cached_property
    def latency(self) -> LayerLatency:
        self.setting.say(f"{self.name}: latency of groups of layers ...")
        work = work_of(self.sensitivities)
        return self._measured(groups_of(list(work), work), "latency")

    def options(self) -> list[Option]:
        """Each layer in int8 with its noise, and in float with what that costs more."""
        work = work_of(self.sensitivities)
        measured = self.wishes.measure_latency or self.wishes.max_ms is not None
        more = self.latency.by_layer(work) if measured else {layer: float(count) for layer, count in work.items()}
        int8 = [Option(row.layer, "int8", row.noise, 0.0) for row in self.sensitivities.layers]
        return int8 + [Option(row.layer, "fp32", 0.0, more[row.layer]) for row in self.sensitivities.layers]

    def _goal(self, max_drop: float) -> Goal:
        classifier = bool(self.setting.source.labels)
        evaluation = _evaluation(self.setting)
        reference = self.reference.outputs

        def measure(plan: QuantPlan) -> Found:
            try:
                answers = _run(self.setting, self.name, {plan.family: plan}, self.folder / "look")
            except EngineFailed as error:
                metric = metric_of(evaluation, classifier)
                absent = isinstance(error, _NotHere)
                return Found(metric, NONE, 0, error.found, "not_measured" if absent else "fail")
            return drop_of(evaluation, self.name, reference, answers, classifier)

        original = drop_of(evaluation, self.name, reference, reference, classifier)
        unit = "ms" if self.wishes.measure_latency else "multiply-accumulates"
        return Goal(self.name, max_drop, self.plan, measure, self.options, original, unit)


def within_ms(name: str, options: Sequence[Option], all_int8_ms: float, max_ms: float) -> tuple[tuple[str, ...], float]:
    """The layers that may stay in float within a time, and the ms that are predicted with them.

    options: costs in ms more than in int8. Raises: UsageError naming the time of the fastest plan.
    """
    try:
        choice = choose_precisions(options, cost_budget=max_ms - all_int8_ms)
    except UsageError as error:
        fastest = all_int8_ms + sum(min(0.0, option.cost) for option in options)
        found = f"the fastest plan takes {fastest:.4g} ms by what was measured"
        raise UsageError(f"quantize {name} within {max_ms:g} ms", found, "raise max_ms") from error
    kept = tuple(layer for layer, precision in choice.precision.items() if precision != "int8")
    return kept, all_int8_ms + choice.cost


class _NotHere(EngineFailed):
    """The target cannot run on this device: not a failure of the plan."""


def _run(setting: Setting, name: str, plans: Mapping[str, QuantPlan], folder: Path) -> Arrays:
    """Answers of one target to the held-out samples. Raises: EngineFailed where it does not build or run."""
    bundle = build_targets(setting.program, setting.source, (name,), plans, folder, lambda text: None)
    if setting.held_out is None:
        raise UsageError(f"run {name}", "no held-out samples", "give some")
    absent = bundle.absent.get(name)
    if absent is None:
        outputs = run_outputs(bundle.exported, setting.held_out, folder / "job", setting.device, lambda text: None)
        if name in outputs.arrays:
            return outputs.arrays[name]
        state, reason = outputs.unrun[name].state, outputs.unrun[name].reason
    else:
        state, reason = absent.state, absent.reason
    kind = _NotHere if state == "not_measured" else EngineFailed
    raise kind(f"measure the drop of {name}", reason, "drop this target, or change the model")


def _evaluation(setting: Setting) -> Evaluation:
    if setting.evaluation is None:
        raise UsageError("judge a drop", "no held-out samples", "give some")
    return setting.evaluation


def _few_batches(setting: Setting) -> list[Batch]:
    """A few held-out samples, spread evenly, in pieces that the program takes; without any, calibration samples."""
    inputs = setting.held_out or setting.calibration
    if setting.held_out is None:
        setting.say("warning: no held-out samples; sensitivities are measured on calibration samples")
    rows = np.unique(np.linspace(0, inputs.count - 1, min(SENSITIVITY_SAMPLES, inputs.count)).astype(int))
    few = replace(inputs, arrays={name: array[rows] for name, array in inputs.arrays.items()})
    size = _PIECE if setting.program.batch_is_symbolic else len(setting.program.example[0])
    pieces = tensor_batches(setting.program.inputs, few, setting.source.preprocessing, size)
    labels = _class_labels(setting, rows)
    found: list[Batch] = []
    for start, piece in zip(range(0, len(rows), size), pieces):
        if setting.program.batch_is_symbolic or len(piece[0]) == size:
            found.append((piece, None if labels is None else labels[start : start + size]))
    return found


def _class_labels(setting: Setting, rows: np.ndarray) -> torch.Tensor | None:
    """Labels that a loss on the first output understands: classes, or a 0 or 1 for each label."""
    evaluation = setting.evaluation
    if evaluation is None or evaluation.protocol not in ("top1", "multilabel") or "labels" not in evaluation.arrays:
        return None
    labels = torch.from_numpy(np.asarray(evaluation.arrays["labels"])[rows])
    return labels.long() if labels.dim() == 1 else labels
