"""Files made by anyone, and artefacts of ours: timed, or judged against an original."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgesmith import intervals
from edgesmith.artifact import Exported, load_exported
from edgesmith.bench.adopt import adopt
from edgesmith.devices import DEVICES
from edgesmith.devices.device import Device
from edgesmith.errors import UsageError
from edgesmith.pipeline.convert import Request, capture_request
from edgesmith.pipeline.doctor import is_artifact
from edgesmith.pipeline.judge import REFERENCE, Table, judge_bundle, time_targets
from edgesmith.pipeline.produce import BUNDLE, Bundle, build_targets, load_bundle
from edgesmith.pipeline.recipe import Bench
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


def bench_files(
    files: Sequence[Path],
    inputs: str,
    threads: int,
    rounds: tuple[int, int, int],
    reference: str | None,
    say: Say,
    device: Device | None = None,
) -> BenchTable:
    """Time files in interleaved blocks, on a device or else on this machine.

    Raises: UsageError when their inputs differ.
    """
    with tempfile.TemporaryDirectory() as work:
        found = open_all(files, Path(work) / "files")
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
        blocks, block_size, warmup = rounds
        bench = Bench(threads=threads, blocks=blocks, block_size=block_size, warmup=warmup)
        record = time_targets(found, feed, Path(work) / "job", device or DEVICES.get("local")(), bench, say, chosen)
    return bench_table(record)


def _shapes(exported: Exported) -> str:
    return ", ".join(f"{spec.name} {spec.shape}" for spec in exported.inputs)


def bench_table(record: BenchRecord) -> BenchTable:
    """Percentiles with intervals and the ratio to the reference, a row a candidate."""
    header = (
        "file",
        "p50 ms",
        "p90 ms",
        "p99 ms",
        "times faster",
        "load ms",
        "peak MB",
        "size MB",
        "precision",
        "engine",
    )
    by_name = {m.target: m for m in record.measurements}
    rows = tuple(_row(m, by_name.get(record.reference)) for m in record.measurements)
    cpu = record.device
    remarks = [f"{cpu.cpu}, {cpu.cores} cores; reference {record.reference}; intervals of 95 %"]
    if not record.sentinel_drift <= 0.1:
        remarks.append(f"warning: the machine's own speed changed by {record.sentinel_drift:.0%} meanwhile")
    return BenchTable(record, header, rows, tuple(remarks))


def _row(m: Measurement, reference: Measurement | None) -> tuple[str, ...]:
    if m.latency is None:
        return (m.target, m.state, "", "", "", "", "", "", "", m.reason)
    blocks = m.latency.blocks_ms
    p50, p90, p99 = (interval_text(intervals.percentile_of_blocks(blocks, q), 2) for q in (0.5, 0.9, 0.99))
    ratio = ""
    if reference is not None and reference.latency is not None and m is not reference:
        ratio = interval_text(intervals.ratio_of_medians(reference.latency.blocks_ms, m.latency.blocks_ms), 2)
    load = f"{m.load_ms[0]:.0f}" if m.load_ms else ""
    peak = f"{m.peak_bytes / 1e6:.0f}" if m.peak_bytes else ""
    size = f"{m.size_bytes / 1e6:.2f}" if m.size_bytes else ""
    return (m.target, p50, p90, p99, ratio or "1 (reference)", load, peak, size, m.precision, f"{m.engine} {m.version}")


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
