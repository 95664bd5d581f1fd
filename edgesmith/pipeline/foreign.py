"""Files made by anyone, and artefacts of ours: timed, or judged against an original."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

from edgesmith import intervals
from edgesmith.artifact import Exported, load_exported
from edgesmith.bench.adopt import adopt
from edgesmith.bench.job import Schedule
from edgesmith.bench.run import measure
from edgesmith.devices import DEVICES
from edgesmith.devices.device import Device
from edgesmith.errors import UsageError
from edgesmith.pipeline.convert import Request, capture_request
from edgesmith.pipeline.doctor import is_artifact
from edgesmith.pipeline.judge import REFERENCE, Table, check_inputs, judge_bundle
from edgesmith.pipeline.produce import BUNDLE, Bundle, build_targets, load_bundle
from edgesmith.pipeline.sources import Inputs, read_inputs
from edgesmith.results import BenchRecord, Interval, Measurement

Say = Callable[[str], None]


@dataclass(frozen=True)
class BenchTable:
    """A measurement and the rows a person reads."""

    record: BenchRecord
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    remarks: tuple[str, ...]


def open_all(files: Sequence[Path], folder: Path) -> dict[str, Exported]:
    """Artefacts by a telling name: the target for ours, the file's name for others. Raises: UsageError on a clash."""
    found: dict[str, Exported] = {}
    for file in files:
        opened = _open(file, folder / str(len(found)))
        for name, exported in opened.items():
            unique = name if name not in found else f"{file}:{name}"
            if unique in found:
                raise UsageError(f"compare {file}", "it is named twice", "name each file once")
            found[unique] = exported
    return found


def _open(file: Path, folder: Path) -> dict[str, Exported]:
    if file.is_dir() and (file / BUNDLE).exists():
        return dict(load_bundle(file).exported)
    if is_artifact(file):
        exported = load_exported(file)
        return {exported.target: exported}
    return {file.name: adopt(file, folder)}


@dataclass(frozen=True)
class Sweep:
    """What `bench` measures: each number of threads with each batch, a job each, in one scenario.

    rebuild: engines are built anew on the device.
    """

    schedule: Schedule = field(default_factory=Schedule)
    batches: tuple[int, ...] = (1,)
    threads: tuple[int, ...] = (1,)
    rebuild: bool = False

    def __iter__(self) -> Iterator[tuple[Schedule, int]]:
        for batch, threads in product(self.batches, self.threads):
            yield replace(self.schedule, batch=batch), threads


def bench_files(
    files: Sequence[Path],
    inputs: str,
    sweep: Sweep,
    reference: str | None,
    say: Say,
    device: Device | None = None,
) -> BenchTable:
    """Time files in interleaved blocks, on a device or else on this machine.

    Raises: UsageError when their inputs differ.
    """
    with tempfile.TemporaryDirectory() as work:
        found, feed, chosen = prepared(files, inputs, reference, Path(work))
        where, job = device or DEVICES.get("local")(), Path(work) / "job"
        records = []
        for schedule, threads in sweep:
            asked = (where, job, found, feed.arrays, schedule, chosen, threads)
            records.append(measure(*asked, images=feed.images, progress=say, rebuild=sweep.rebuild))
    return bench_table(records)


def prepared(
    files: Sequence[Path], inputs: str, reference: str | None, work: Path
) -> tuple[dict[str, Exported], Inputs, str]:
    """Files of one kind of input, what they are fed, and the one that ratios are to. Raises: UsageError."""
    found = open_all(files, work / "files")
    first = next(iter(found.values()))
    for name, exported in found.items():
        if [(s.name, s.shape) for s in exported.inputs] != [(s.name, s.shape) for s in first.inputs]:
            shapes = f"{name} takes {_shapes(exported)}, {next(iter(found))} takes {_shapes(first)}"
            raise UsageError("time these files together", shapes, "call bench once for each kind of input")
    chosen = reference or (REFERENCE if REFERENCE in found else next(iter(found)))
    if chosen not in found:
        raise UsageError(f"--reference {chosen}", "not among the files", f"choose from: {', '.join(found)}")
    if first.preprocessing is None and Path(inputs).is_dir():
        reason = f"{next(iter(found))} does not say how pictures become its input"
        raise UsageError(f"feed the pictures of {inputs}", reason, "give --inputs file.npz or random:N")
    feed = read_inputs(inputs, first.inputs, first.preprocessing, strict=False)
    check_inputs(found, feed, chosen)
    return found, feed, chosen


def _shapes(exported: Exported) -> str:
    return ", ".join(f"{spec.name} {spec.shape}" for spec in exported.inputs)


def bench_table(records: Sequence[BenchRecord]) -> BenchTable:
    """Percentiles with intervals and the ratio to the reference, a row for each candidate of each record.

    The record that comes with it holds all measurements; its sentinel is the one that changed most.
    """
    least_steady = max(records, key=lambda one: one.sentinel_drift)
    record = replace(least_steady, measurements=tuple(m for one in records for m in one.measurements))
    header = (
        "file",
        "batch",
        "threads",
        "p50 ms",
        "p90 ms",
        "p99 ms",
        "rows/s",
        "times faster",
        "load ms",
        "peak MB",
        "size MB",
        "energy",
        "precision",
        "engine",
    )
    rows = []
    for one in records:
        first = next((m for m in one.measurements if m.target == one.reference), None)
        rows += [_row(m, first) for m in one.measurements]
    cpu, how = record.device, next(iter(record.measurements))
    scenario = f"{how.streams} streams at once" if how.streams > 1 else how.scenario
    remarks = [f"{cpu.cpu}, {cpu.cores} cores; {scenario}; reference {record.reference}; intervals of 95 %"]
    counted = [e for m in record.measurements for e in m.energy]
    if any(e.joules for e in counted):
        remarks.append(
            "energy is for an inference, of all that a gauge feeds; net: without the power of the idle machine"
        )
    elif counted:
        remarks.append(
            "energy not_measured: " + "; ".join(dict.fromkeys(f"{e.source} {e.reason}".strip() for e in counted))
        )
    if how.scenario == "cold-start":
        remarks.append("a sample is a load and the first answer of a fresh process; the file may be cached in memory")
    if any(m.latency for m in record.measurements) and not record.sentinel_drift <= 0.1:
        remarks.append(f"warning: the machine's own speed changed by {record.sentinel_drift:.0%} meanwhile")
    return BenchTable(record, header, tuple(rows), tuple(remarks))


def _row(m: Measurement, reference: Measurement | None) -> tuple[str, ...]:
    if m.latency is None:
        return (m.target, str(m.batch), str(m.threads), m.state, *[""] * 9, m.reason)
    blocks = m.latency.blocks_ms
    p50, p90, p99 = (interval_text(intervals.percentile_of_blocks(blocks, q), 2) for q in (0.5, 0.9, 0.99))
    ratio = "1 (reference)" if m is reference else "not_measured"
    if reference is not None and reference.latency is not None and m is not reference:
        ratio = interval_text(intervals.ratio_of_medians(reference.latency.blocks_ms, m.latency.blocks_ms), 2)
    speeds = [[one] for one in m.rows_per_s]
    speed = interval_text(intervals.percentile_of_blocks(speeds, 0.5), 0) if speeds else ""
    load = f"{m.load_ms[0]:.0f}" if m.load_ms else ""
    peak = f"{m.peak_bytes / 1e6:.0f}" if m.peak_bytes else ""
    size = f"{m.size_bytes / 1e6:.2f}" if m.size_bytes else ""
    shape = (m.target, str(m.batch), str(m.threads))
    costs = (load, peak, size, energy_text(m), m.precision, f"{m.engine} {m.version}")
    return (*shape, p50, p90, p99, speed, ratio, *costs)


def energy_text(m: Measurement) -> str:
    """Joules for an inference by each gauge, the idle power subtracted where that is known, which is said."""
    said = []
    for one in m.energy:
        if one.joules is not None:
            best, how = (one.net_joules, "net") if one.net_joules else (one.joules, "idle included")
            said.append(f"{one.source}: {1e3 * best.value:.3g} mJ {how}")
    return "; ".join(said) or "not_measured"


def interval_text(interval: Interval, digits: int) -> str:
    """An estimate and its interval: "3.12 [3.05, 3.20]"; without a bound on both sides the interval is not measured."""
    if interval.low is None or interval.high is None:
        return "not_measured"
    return f"{interval.value:.{digits}f} [{interval.low:.{digits}f}, {interval.high:.{digits}f}]"


def verify_files(
    files: Sequence[Path], request: Request, limits: Mapping[str, Any], say: Say, device: Device | None = None
) -> Table:
    """Judge files against an original on the same inputs, prepared once as the original wants them."""
    with tempfile.TemporaryDirectory() as work:
        found = open_all(files, Path(work) / "files")
        source, program, inputs = capture_request(request, say)
        made = build_targets(program, source, (REFERENCE,), {}, Path(work) / "original", lambda text: None)
        if REFERENCE not in made.exported:
            raise UsageError("run the original", made.absent[REFERENCE].reason, "choose another --against")
        original = made.exported[REFERENCE]
        named = {name if name != REFERENCE else f"{name} (given)": exported for name, exported in found.items()}
        for name, exported in named.items():
            if len(exported.inputs) != len(original.inputs):
                shapes = f"{name} takes {_shapes(exported)}, the original {_shapes(original)}"
                raise UsageError(
                    "compare with the original", shapes, "give --against the model this file was made from"
                )
        bundle = Bundle(Path(work), {REFERENCE: original, **named}, {})
        ready = as_tensors(inputs, original)
        title = f"verify against {request.model}"
        return judge_bundle(bundle, ready, limits, tuple(named), Path(work) / "jobs", False, 1, say, title, device)


def as_tensors(inputs: Inputs, original: Exported) -> Inputs:
    """Images turned into the original's input, so that files without a record of their preprocessing can be fed."""
    if not inputs.images or original.preprocessing is None:
        return inputs
    tensor = original.preprocessing.apply(inputs.arrays["image"])
    return replace(inputs, arrays={original.inputs[0].name: tensor}, images=False)
