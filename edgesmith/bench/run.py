"""Put a job on a device, have its worker run it, and read back what it found."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import shutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from edgesmith.artifact import RECORD, Exported
from edgesmith.bench.environment import worker_python
from edgesmith.bench.feeds import MOST_FEEDS
from edgesmith.bench.job import (
    INPUTS,
    RESULT,
    Candidate,
    Job,
    Result,
    Schedule,
    check_job,
    log_file,
    outputs_file,
    read_outputs,
    read_result,
    write_job,
)
from edgesmith.bench.native import measure_native
from edgesmith.bench.readiness import await_ready
from edgesmith.devices.device import Device
from edgesmith.errors import ConnectionLost, DamagedArtifact, EngineFailed, MissingResource, UsageError
from edgesmith.results import BenchRecord, Measurement
from edgesmith.tensors import Arrays

Progress = Callable[[str], None]
_TRIES = 2


def measure(
    device: Device,
    folder: Path,
    exported: Mapping[str, Exported],
    inputs: Arrays,
    schedule: Schedule,
    reference: str,
    threads: int = 1,
    timeout_s: float = 3600.0,
    step_timeout_s: float = 300.0,
    images: bool = False,
    pythons: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    rebuild: bool = False,
    graphs: Collection[str] = (),
) -> BenchRecord:
    """Time candidates against each other in interleaved blocks; one row each, measured or with its reason.

    inputs: real samples over which the runs rotate (the first 32); images are uint8 RGB (N, H, W, 3).
    pythons: candidate -> the interpreter of its own virtual environment on the device. rebuild: engines are built
    anew there, from the ONNX files beside them. graphs: candidates whose work is captured in a CUDA graph.
    Raises: UsageError, EngineFailed when the worker itself fails, DamagedArtifact for an answer that is not one.
    """
    few = {name: array[:MOST_FEEDS] for name, array in inputs.items()}
    made = _candidates(exported, threads, pythons or {})
    candidates = tuple(replace(one, rebuild=rebuild, graph=one.name in graphs) for one in made)
    check_job(Job("latency", candidates, reference, schedule, _kind(images), timeout_s=step_timeout_s))
    barred = _barred(device, exported)
    able = {name: model for name, model in exported.items() if name not in barred}
    # A device whose times mean nothing says so itself.
    if reason := "" if not able else getattr(device, "untimed", "") or await_ready(device):
        barred |= {name: Measurement(name, "not_measured", reason) for name in able}
        able = {}
    if not able:
        return BenchRecord(device.info(), tuple(barred[name] for name in exported), reference, (0.0, 0.0))
    first = reference if reference in able else next(iter(able))
    if not device.python:
        found = measure_native(device, folder, able, schedule, first, threads, step_timeout_s, progress)
    else:
        ours = tuple(candidate for candidate in candidates if candidate.name in able)
        job = Job("latency", ours, first, schedule, _kind(images), timeout_s=step_timeout_s)
        try:
            result = _run(device, folder, job, able, few, timeout_s, progress)
        finally:
            _tidy(folder, job)
        # The worker looked at the machine it ran on, right after the last sample.
        where = dataclasses.replace(result.device, name=device.name)
        found = BenchRecord(where, result.measurements, first, result.sentinel_ms)
    rows = barred | {row.target: row for row in found.measurements}
    return replace(found, measurements=tuple(rows[name] for name in exported), reference=reference)


def _barred(device: Device, exported: Mapping[str, Exported]) -> dict[str, Measurement]:
    """A row for each model whose runtime the device file leaves out for this device."""
    allowed: tuple[str, ...] = tuple(getattr(device, "runtimes", ()))
    reason = f"the device file lets {', '.join(allowed)} run on {device.name}, and not "
    return {
        name: Measurement(name, "not_measured", reason + model.runtime)
        for name, model in exported.items()
        if allowed and model.runtime not in allowed
    }


@dataclass(frozen=True)
class Answers:
    """Outputs of the candidates that ran, and the row of every candidate."""

    arrays: Mapping[str, Arrays]
    rows: Mapping[str, Measurement]


def infer(
    device: Device,
    folder: Path,
    exported: Mapping[str, Exported],
    inputs: Arrays,
    images: bool,
    batch: int = 1,
    threads: int = 1,
    timeout_s: float = 3600.0,
    pythons: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> dict[str, Arrays | Measurement]:
    """Outputs of every candidate for all rows of `inputs`, or the row that says why there are none (`answer_all`)."""
    found = answer_all(device, folder, exported, inputs, images, batch, threads, timeout_s, pythons, progress)
    return {name: found.arrays.get(name, row) for name, row in found.rows.items()}


def answer_all(
    device: Device,
    folder: Path,
    exported: Mapping[str, Exported],
    inputs: Arrays,
    images: bool,
    batch: int = 1,
    threads: int = 1,
    timeout_s: float = 3600.0,
    pythons: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> Answers:
    """Outputs of every candidate for all rows of `inputs`, and its row: why there are none, where its work is done.

    A model with a dynamic batch gets `batch` rows a run, another one what it was made for.
    Raises: UsageError, EngineFailed when the worker itself fails.
    """
    measured = _barred(device, exported)
    able = {name: model for name, model in exported.items() if name not in measured}
    if able and not device.python:
        reason = f"no python on {device.name}, and native programs give no outputs; verify it on another device"
        measured |= {name: Measurement(name, "not_measured", reason) for name in able}
        able = {}
    candidates = tuple(c for c in _candidates(exported, threads, pythons or {}) if c.name in able)
    arrays: dict[str, Arrays] = {}
    if exported and not able:
        return Answers({}, {name: measured[name] for name in exported})
    job = Job("outputs", candidates, next(iter(able), ""), Schedule(), _kind(images), batch, timeout_s)
    try:
        # Each candidate has timeout_s; the worker ends by itself, so it is given a little more than all of them.
        result = _run(device, folder, job, able, inputs, timeout_s * len(candidates) + 60, progress)
        rows = len(next(iter(inputs.values())))
        for number, row in enumerate(result.measurements):
            answer = _answer(folder, number, row, exported[row.target], rows)
            measured[row.target] = answer if isinstance(answer, Measurement) else row
            if not isinstance(answer, Measurement):
                arrays[row.target] = answer
    finally:
        _tidy(folder, job)
    return Answers(arrays, {name: measured[name] for name in exported})


def _answer(folder: Path, number: int, row: Measurement, exported: Exported, rows: int) -> Arrays | Measurement:
    if row.state != "measured":
        return row
    try:
        return read_outputs(folder, number, exported, rows)
    except DamagedArtifact as error:
        return replace(row, state="failed", reason=str(error))


def _candidates(exported: Mapping[str, Exported], threads: int, pythons: Mapping[str, str]) -> tuple[Candidate, ...]:
    for name, model in exported.items():
        if not (model.root / RECORD).is_file():
            raise UsageError(f"run {name}", f"{model.root} has no {RECORD}", "seal it with artifact.save_exported")
    unknown = sorted(set(pythons) - set(exported))
    if unknown:
        raise UsageError(f"interpreters for {unknown}", f"candidates are {sorted(exported)}", "name candidates")
    return tuple(Candidate(name, f"model-{n}", threads, pythons.get(name)) for n, name in enumerate(exported))


def _kind(images: bool) -> Literal["images", "tensors"]:
    return "images" if images else "tensors"


def _run(
    device: Device,
    folder: Path,
    job: Job,
    exported: Mapping[str, Exported],
    inputs: Arrays,
    timeout_s: float,
    progress: Progress | None,
) -> Result:
    write_job(folder, job, inputs)
    for candidate in job.candidates:
        shutil.rmtree(folder / candidate.folder, ignore_errors=True)
        shutil.copytree(exported[candidate.name].root, folder / candidate.folder)
    for left in reversed(range(_TRIES)):
        try:
            return _run_there(device, folder, job, {model.runtime for model in exported.values()}, timeout_s, progress)
        except ConnectionLost as error:
            if not left:
                raise
            if progress is not None:
                progress(f"{error.found}: the job begins again")  # samples of two connections are never mixed
    raise EngineFailed(f"run the worker on {device.name}", "no try was left", "run it again")


def _run_there(
    device: Device, folder: Path, job: Job, runtimes: Collection[str], timeout_s: float, progress: Progress | None
) -> Result:
    remote = device.place(folder)
    try:
        with device.reserve(), worker_python(device, runtimes) as python:
            device.push(folder, remote)
            ended = device.run([python, "-m", "edgesmith.bench.worker", remote], timeout_s, progress)
        if ended.timed_out or ended.returncode != 0:
            how = f"no end after {timeout_s:g} s" if ended.timed_out else f"it ended with status {ended.returncode}"
            last = " | ".join(ended.stderr.strip().splitlines()[-3:])
            if absent := re.search(r"^ModuleNotFoundError: No module named '(\w+)'", ended.stderr, re.M):
                asked, found = f"run the worker on {device.name}", f"{python} has no {absent[1]}"
                raise MissingResource(asked, found, f"install {absent[1]} there, or see env in the device file")
            raise EngineFailed(f"run the worker on {device.name}", f"{how} {last}".strip(), "see its logs there")
        return _fetch(device, remote, folder, job)
    finally:
        if Path(remote) != folder.resolve():
            with contextlib.suppress(MissingResource):  # a device that has gone says so by the error on its way
                device.remove(remote)


def _fetch(device: Device, remote: str, folder: Path, job: Job) -> Result:
    """Bring back the result, the outputs it speaks of and the logs, each by its own name and nothing else."""
    device.pull(f"{remote}/{RESULT}", folder / RESULT)
    result = read_result(folder, job)
    for number, row in enumerate(result.measurements):
        names = [outputs_file(number)] if job.kind == "outputs" and row.state == "measured" else []
        for name in (*names, log_file(number)):
            with contextlib.suppress(MissingResource):  # a missing one is found out when it is read
                device.pull(f"{remote}/{name}", folder / name)
    return result


def _tidy(folder: Path, job: Job) -> None:
    """Take away what may be large or private; job.json, result.json and the logs stay."""
    for number, candidate in enumerate(job.candidates):
        shutil.rmtree(folder / candidate.folder, ignore_errors=True)
        (folder / outputs_file(number)).unlink(missing_ok=True)
    (folder / INPUTS).unlink(missing_ok=True)
