"""What int8 saves in each part of a net on its runtime: the artefact with that part in float against all in int8.

A runtime's own profile splits a time among fused kernels in words of its own; a whole artefact timed as it will be
deployed also pays for the conversions at the borders of a float part. Layers are timed in groups of neighbours, so
that the number of artefacts stays small, and the groups in interleaved jobs beside the same reference.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from edgesmith import intervals
from edgesmith.artifact import Exported
from edgesmith.bench.job import Schedule
from edgesmith.bench.run import measure
from edgesmith.compress.quantize.sensitivity import Sensitivities
from edgesmith.devices.device import Device
from edgesmith.errors import EngineFailed
from edgesmith.graph.program import Program
from edgesmith.pipeline.produce import build_targets
from edgesmith.pipeline.sources import Source
from edgesmith.quant import QuantPlan
from edgesmith.results import BenchRecord, Interval, Verdict
from edgesmith.tensors import random_feed
from edgesmith.verify.gate import STEADY, decide

Say = Callable[[str], None]
Planner = Callable[[Collection[str]], QuantPlan]  # paths kept in float -> the plan with all others in int8
GROUPS = 8
JOB_SIZE = 8
REFERENCE, AGAIN = "all-int8", "all-int8 again"
_FEEDS = 8


@dataclass(frozen=True)
class GroupLatency:
    """Neighbouring layers, and by how many ms int8 makes all of them together faster (below 0: slower)."""

    layers: tuple[str, ...]
    saved_ms: Interval


@dataclass(frozen=True)
class LayerLatency:
    """What was measured for one target. noise_ms: the same difference for one file timed twice, where 0 is expected."""

    target: str
    all_int8_ms: float
    groups: tuple[GroupLatency, ...]
    noise_ms: Interval
    sentinel_drift: float
    seconds: float

    def by_layer(self, work: Mapping[str, int]) -> dict[str, float]:
        """Each layer's part of what its group saves in ms, in proportion to its work."""
        found = {}
        for group in self.groups:
            total = sum(work[layer] for layer in group.layers) or 1
            found.update({layer: group.saved_ms.value * work[layer] / total for layer in group.layers})
        return found


@dataclass(frozen=True)
class Where:
    """The device, the folder and the schedule of a measurement."""

    device: Device
    folder: Path
    say: Say
    threads: int = 1
    schedule: Schedule = field(default_factory=lambda: Schedule(blocks=10, block_size=10, warmup=10))


def groups_of(layers: Sequence[str], work: Mapping[str, int], most: int = GROUPS) -> list[tuple[str, ...]]:
    """Runs of neighbouring layers of about equal work, at most so many."""
    total, done, found = sum(work[layer] for layer in layers), 0.0, list[list[str]]()
    places = []
    for layer in layers:
        places.append(min(int(most * (done + work[layer] / 2) / max(total, 1)), most - 1))
        done += work[layer]
    for place in dict.fromkeys(places):
        found.append([layer for layer, its in zip(layers, places) if its == place])
    return [tuple(group) for group in found]


def work_of(found: Sensitivities) -> dict[str, int]:
    """Multiply-accumulates of each layer, at least 1: what only adds values costs something too."""
    return {row.layer: max(row.macs, 1) for row in found.layers}


def measured_latency(
    program: Program,
    source: Source,
    name: str,
    planner: Planner,
    groups: Sequence[tuple[str, ...]],
    where: Where,
    kept: Collection[str] = (),
) -> LayerLatency:
    """Time one artefact a group, that group in float. kept: what is in float in every one of them.

    Raises: EngineFailed where the target does not build or run here.
    """
    started = time.monotonic()
    reference = _built(program, source, name, planner(kept), where.folder / "all")
    made = {}
    for number, group in enumerate(groups):
        plan = planner({*kept, *group})
        made[f"group-{number}"] = _built(program, source, name, plan, where.folder / f"group-{number}")
        where.say(f"latency: {number + 1} of {len(groups)} groups of layers exported")
    ratios, references, drift = dict[str, Interval](), list[float](), 0.0
    for start in range(0, len(made), JOB_SIZE):
        chunk = dict(list(made.items())[start : start + JOB_SIZE])
        record = _timed({REFERENCE: reference, AGAIN: reference, **chunk}, where)
        references.append(float(np.median(np.concatenate(_blocks(record, REFERENCE)))))
        ratios |= {key: intervals.ratio_of_medians(_blocks(record, key), _blocks(record, REFERENCE)) for key in chunk}
        noise = intervals.ratio_of_medians(_blocks(record, AGAIN), _blocks(record, REFERENCE))
        drift = max(drift, record.sentinel_drift)
    whole = float(np.median(references))
    rows = tuple(GroupLatency(group, _more(ratios[f"group-{n}"], whole)) for n, group in enumerate(groups))
    return LayerLatency(name, whole, rows, _more(noise, whole), drift, time.monotonic() - started)


def time_verdict(found: LayerLatency, max_ms: float) -> Verdict:
    """Whether the artefact with the one group of `found` in float takes at most `max_ms` (p50)."""
    more = found.groups[0].saved_ms
    low, high = (None if end is None else found.all_int8_ms + end for end in (more.low, more.high))
    p50 = Interval(found.all_int8_ms + more.value, low, high, more.confidence)
    state, _ = decide(p50, "<=", max_ms, 1)
    ends = [f"{end:.4g}" if end is not None else "unbounded" for end in (low, high)]
    text = f"{p50.value:.4g} ms ({ends[0]} to {ends[1]})"
    if not found.sentinel_drift <= STEADY:
        state, text = "inconclusive", f"{text}; but the machine's own speed changed by {found.sentinel_drift:.0%}"
    return Verdict("max_ms", found.target, state, f"p50_ms <= {max_ms:g}", text)


def _more(ratio: Interval, reference_ms: float) -> Interval:
    """How many ms more than the reference."""
    low, high = (None if end is None else (end - 1) * reference_ms for end in (ratio.low, ratio.high))
    return Interval((ratio.value - 1) * reference_ms, low, high, ratio.confidence)


def _built(program: Program, source: Source, name: str, plan: QuantPlan, folder: Path) -> Exported:
    bundle = build_targets(program, source, (name,), {plan.family: plan}, folder, lambda text: None)
    if name in bundle.absent:
        raise EngineFailed(f"measure latency on {name}", bundle.absent[name].reason, "choose a target that builds here")
    return bundle.exported[name]


def _timed(exported: Mapping[str, Exported], where: Where) -> BenchRecord:
    specs = next(iter(exported.values())).inputs
    fixed = [replace(spec, shape=(_FEEDS, *spec.shape[1:])) for spec in specs]
    feed = random_feed(fixed, seed=1)
    folder = where.folder / "job"
    return measure(where.device, folder, exported, feed, where.schedule, REFERENCE, threads=where.threads)


def _blocks(record: BenchRecord, name: str) -> tuple[tuple[float, ...], ...]:
    row = next(m for m in record.measurements if m.target == name)
    if row.latency is None:
        raise EngineFailed(f"time {name}", row.reason, "choose another target")
    return row.latency.blocks_ms
