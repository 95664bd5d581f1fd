"""From artefacts and inputs to verdicts: run everything, compare with the original, conclude."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgesmith import records
from edgesmith.artifact import Exported
from edgesmith.bench.feeds import batch_of, feed_of
from edgesmith.bench.job import LAYER_RUNS, Schedule
from edgesmith.bench.run import Answers, answer_all, measure
from edgesmith.data.split import Evaluation, Split
from edgesmith.devices import DEVICES
from edgesmith.devices.device import Device
from edgesmith.errors import UsageError, worst
from edgesmith.pipeline.accuracy_control import Control
from edgesmith.pipeline.effects import Effects
from edgesmith.pipeline.input_faults import input_faults
from edgesmith.pipeline.produce import Absent, Bundle
from edgesmith.pipeline.recipe import Bench, Targets
from edgesmith.pipeline.sources import Inputs
from edgesmith.report import collect, table
from edgesmith.results import Accuracy, Agreement, BenchRecord, Measurement, Placement, State, Verdict
from edgesmith.tensors import Arrays, check_feed
from edgesmith.verify import accuracy, agreement
from edgesmith.verify.gate import Limits, gate, overall

Say = Callable[[str], None]
REFERENCE = "torch-fp32"
PLACEMENTS = "placement.json"
EXPLAINED = 256  # samples that a fault of the input is looked for with, spread evenly


@dataclass(frozen=True)
class Outputs:
    """What every target answered; a target that could not run has a row with its reason instead.

    placements: where a target's work is done, for those whose runtime tells. original: where the original ran, and
    why, if that is not the device of the others.
    """

    arrays: Mapping[str, Arrays]
    unrun: Mapping[str, Measurement]
    placements: Mapping[str, Placement] = field(default_factory=dict)
    original: str = ""


@dataclass(frozen=True)
class Judgement:
    """All that was concluded, and the state and exit code of the whole."""

    headline: str
    accuracies: tuple[Accuracy, ...]
    agreements: tuple[Agreement, ...]
    verdicts: tuple[Verdict, ...]
    state: State
    exit_code: int
    required: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """What a check ends in: the report as JSON types, the same as lines of text, and the exit code."""

    report: Mapping[str, Any]
    lines: tuple[str, ...]
    judgement: Judgement

    @property
    def exit_code(self) -> int:
        return self.judgement.exit_code

    def __str__(self) -> str:
        return "\n".join(self.lines)


@dataclass(frozen=True)
class Evidence:
    """What a verdict is drawn from."""

    evaluation: Evaluation
    outputs: Outputs
    bundle: Bundle
    bench: BenchRecord | None = None
    skipped: tuple[str, ...] = ()
    search: Mapping[str, Any] | None = None
    budget: tuple[str, float] | None = None  # a target, and the p50 in ms that a search was to hold on it
    controls: tuple[Verdict, ...] = ()  # whether the quantized plans hold the drop that they were to hold
    corrections: tuple[Effects, ...] = ()
    drops: tuple[Control, ...] = ()  # how the plans were found that keep a drop


def run_outputs(exported: Mapping[str, Exported], inputs: Inputs, folder: Path, device: Any, say: Say) -> Outputs:
    """Every target's answers to all inputs, by the worker on the device. Raises: UsageError for unfit inputs."""
    check_inputs(exported, inputs)
    found, original = answer_all(device, folder, exported, inputs.arrays, inputs.images, progress=say), ""
    row = found.rows.get(REFERENCE)
    if row is not None and row.state == "not_measured":
        # What the original answers is no question about the device: a phone need not have PyTorch.
        original = f"the original ran on this machine and not on {device.name}: {row.reason}"
        say(original)
        here = {REFERENCE: exported[REFERENCE]}
        alone = answer_all(DEVICES.get("local")(), folder, here, inputs.arrays, inputs.images, progress=say)
        found = Answers({**found.arrays, **alone.arrays}, {**found.rows, **alone.rows})
    unrun = {name: row for name, row in found.rows.items() if name not in found.arrays}
    placed = {name: row.placement for name, row in found.rows.items() if row.placement is not None}
    return Outputs(found.arrays, unrun, placed, original)


def check_inputs(exported: Mapping[str, Exported], inputs: Inputs, reference: str = REFERENCE) -> None:
    """Refuse inputs that the original cannot take, before anything runs: they say nothing about any target."""
    original = exported.get(reference)
    if original is not None:
        if not original.inputs:
            raise UsageError(f"run {reference}", "it takes no input", "name a model that does")
        rows = np.arange(batch_of(original, 1)) % inputs.count
        feed = feed_of(original, inputs.arrays, "images" if inputs.images else "tensors", rows)
        check_feed(original.inputs, feed)


def save_outputs(folder: Path, outputs: Outputs) -> None:
    """outputs.npz ("target|output"), unrun.json and placement.json."""
    flat = {f"{target}|{name}": array for target, arrays in outputs.arrays.items() for name, array in arrays.items()}
    np.savez(folder / "outputs.npz", **flat)  # type: ignore[arg-type]
    records.save(folder / "unrun.json", dict(outputs.unrun))
    records.save(folder / PLACEMENTS, dict(outputs.placements))
    records.save(folder / "original.json", {"ran": outputs.original})


def load_outputs(folder: Path) -> Outputs:
    """What save_outputs wrote."""
    arrays: dict[str, Arrays] = {}
    with np.load(folder / "outputs.npz", allow_pickle=False) as file:
        for key in file.files:
            target, _, name = key.partition("|")
            arrays.setdefault(target, {})[name] = file[key]
    return Outputs(
        arrays,
        {name: records.from_json(Measurement, row) for name, row in _rows(folder / "unrun.json")},
        {name: records.from_json(Placement, row) for name, row in _rows(folder / PLACEMENTS)},
        records.read(folder / "original.json")["ran"],
    )


def _rows(file: Path) -> list[tuple[str, Any]]:
    return [(name, row) for name, row in records.read(file).items() if name != "schema"]


def time_targets(
    exported: Mapping[str, Exported],
    inputs: Inputs,
    folder: Path,
    device: Any,
    bench: Bench,
    say: Say,
    reference: str = REFERENCE,
) -> BenchRecord:
    """Latency of every target against the reference, in one interleaved run. Raises: UsageError for unfit inputs."""
    check_inputs(exported, inputs, reference)
    streams, profiled = bench.streams if bench.scenario == "multi-stream" else 1, LAYER_RUNS if bench.layers else 0
    schedule = Schedule(bench.blocks, bench.calls, bench.warmup, 1, bench.scenario, streams, profiled)
    return measure(
        device,
        folder,
        exported,
        inputs.arrays,
        schedule,
        reference,
        images=inputs.images,
        threads=bench.threads,
        progress=say,
    )


def judge(evidence: Evidence, limits: Mapping[str, Any], targets: Targets) -> Judgement:
    """Accuracy where there are labels or pairs, agreement with the original always; a verdict a question."""
    ran, protocol = evidence.outputs.arrays, evidence.evaluation.protocol
    headline = accuracy.headline(protocol)
    accuracies: tuple[Accuracy, ...] = ()
    agreements: tuple[Agreement, ...] = ()
    if REFERENCE in ran:
        accuracies = accuracy.judge_all(protocol, evidence.evaluation.arrays, ran, REFERENCE)
        others = [name for name in ran if name != REFERENCE]
        agreements = tuple(a for name in others for a in agreement.compare(name, ran[REFERENCE], ran[name]))
    failures, absences = _reasons(evidence)
    demanded = tuple(name for name in targets.required if name != REFERENCE)
    asked, placed = Limits(**limits), evidence.outputs.placements
    verdicts = gate(
        asked, accuracies, agreements, evidence.bench, demanded, REFERENCE, failures, absences, headline, placed
    )
    verdicts += (*_budget(evidence), *evidence.controls)
    failed_built = [v.target for v in verdicts if v.target in targets.built and v.state == "fail"]
    absent_built = [name for name in targets.built if name in evidence.bundle.absent]
    # The original itself is demanded too: without it nothing was compared with anything.
    counted = (*demanded, *failed_built, *absent_built, *(() if REFERENCE in ran else (REFERENCE,)))
    state, code = overall(verdicts, tuple(dict.fromkeys(counted)))
    # A required target whose package, device or system is not here is an absence, not a measurement left undecided.
    code = worst([code, *(3 for name in counted if name in absences)])
    return Judgement(headline, accuracies, agreements, verdicts, state, code, demanded)


def explained(judgement: Judgement, evidence: Evidence, inputs: Inputs, say: Say) -> Judgement:
    """The judgement, and for each target that broke a limit because of its input a verdict that says so."""
    original = evidence.outputs.arrays.get(REFERENCE, {})
    if not all(len(array) == inputs.count and np.isfinite(array).all() for array in original.values()):
        return judgement  # answers to other things than one input each, or none: nothing to hold a variant against
    rows = np.unique(np.linspace(0, inputs.count - 1, min(EXPLAINED, inputs.count)).astype(int))
    few = replace(inputs, arrays={name: array[rows] for name, array in inputs.arrays.items()}, labels=None)
    kept = {name: array[rows] for name, array in original.items()}
    faults = input_faults(judgement.verdicts, evidence.bundle.exported, few, kept, say)
    return replace(judgement, verdicts=(*judgement.verdicts, *faults))


def _budget(evidence: Evidence) -> tuple[Verdict, ...]:
    """Whether the deployed network, as it was timed, holds the latency budget of its search."""
    if evidence.budget is None:
        return ()
    target, limit_ms = evidence.budget
    found = gate(Limits(p50_ms=limit_ms), (), (), evidence.bench, (target,), REFERENCE)
    return tuple(replace(v, check="search_budget") for v in found if (v.target, v.check) == (target, "p50_ms"))


def _reasons(evidence: Evidence) -> tuple[dict[str, str], dict[str, str]]:
    """Why targets failed, and why others were not measured."""
    rows: dict[str, Absent | Measurement] = {**evidence.bundle.absent, **evidence.outputs.unrun}
    failures = {name: row.reason for name, row in rows.items() if row.state == "failed"}
    absences = {name: row.reason for name, row in rows.items() if row.state == "not_measured"}
    return failures, absences


def tabulate(
    title: str,
    judgement: Judgement,
    evidence: Evidence,
    histories: Mapping[str, Sequence[Mapping[str, Any]]],
    provenance: Mapping[str, Any],
) -> Table:
    """The report as data and as text."""
    failures, absences = _reasons(evidence)
    report = collect.collect(
        title=title,
        state=judgement.state,
        required=judgement.required,
        reference=REFERENCE,
        exported=evidence.bundle.exported,
        bench=evidence.bench,
        accuracies=judgement.accuracies,
        agreements=judgement.agreements,
        verdicts=judgement.verdicts,
        failures={**failures, **absences},
        histories=histories,
        provenance={**provenance, **({"original": original} if (original := evidence.outputs.original) else {})},
        skipped=evidence.skipped,
        headline=judgement.headline,
        search=evidence.search,
        corrections=evidence.corrections,
        drops=evidence.drops,
        placements=evidence.outputs.placements,
    )
    return Table(report, tuple(table.lines(report)), judgement)


def judge_bundle(
    bundle: Bundle,
    inputs: Inputs,
    limits: Mapping[str, Any],
    required: Sequence[str],
    folder: Path,
    bench: bool,
    threads: int,
    say: Say,
    title: str = "check",
    device: Device | None = None,
) -> Table:
    """Run, compare and conclude for a bundle and inputs in memory, on a device or else on this machine."""
    device = device or DEVICES.get("local")()
    evaluation = Evaluation(Split(dict(inputs.arrays), inputs.labels), "agreement")
    if inputs.labels is not None:
        protocol = "multilabel" if inputs.labels.ndim == 2 else "top1"
        evaluation = replace(evaluation, protocol=protocol, arrays={"labels": inputs.labels})
    outputs = run_outputs(bundle.exported, inputs, folder / "outputs", device, say)
    record = None
    if bench:
        record = time_targets(bundle.exported, inputs, folder / "bench", device, Bench(threads=threads), say)
    evidence = Evidence(evaluation, outputs, bundle, record, inputs.skipped)
    judgement = explained(judge(evidence, limits, Targets(required=tuple(required))), evidence, inputs, say)
    return tabulate(title, judgement, evidence, {}, {"data": inputs.digest})
