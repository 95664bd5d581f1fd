"""A job is a folder: job.json, inputs.npz and model folders go in; result.json and outputs-<n>.npz come out.

What comes back is read as data from a stranger: no pickles, and names, shapes and counts must be as asked.
"""

from __future__ import annotations

import math
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np

from edgesmith import records
from edgesmith.artifact import Exported
from edgesmith.errors import DamagedArtifact, MissingResource, UsageError
from edgesmith.results import SCENARIOS, DeviceInfo, Measurement, Scenario
from edgesmith.tensors import Arrays

LAYER_RUNS = 50  # of a profile, by default
JOB, INPUTS, RESULT = "job.json", "inputs.npz", "result.json"


@dataclass(frozen=True)
class Candidate:
    """A model to run. folder: its exported artefact, relative to the job. python: its own interpreter, if any.

    rebuild: whether its engine is built anew on the device first. graph: whether its work is captured in a CUDA graph.
    """

    name: str
    folder: str
    threads: int = 1
    python: str | None = None
    rebuild: bool = False
    graph: bool = False


@dataclass(frozen=True)
class Schedule:
    """How many samples are taken: `blocks` blocks of `block_size` a candidate, after at least `warmup` runs.

    scenario: single-stream runs one after another; offline is the same and asks for rows a second; multi-stream
    runs in `streams` sessions at once; in cold-start a block is a fresh process that loads and answers once.
    profiled: after the blocks, so many runs under the runtime's own profiler for times by layer.
    """

    blocks: int = 10
    block_size: int = 20
    warmup: int = 20
    batch: int = 1
    scenario: Scenario = "single-stream"
    streams: int = 1
    profiled: int = 0


@dataclass(frozen=True)
class Job:
    """What the worker is to do. timeout_s bounds each step (load, warm-up, a block, all outputs) of a candidate."""

    kind: Literal["latency", "outputs"]
    candidates: tuple[Candidate, ...]
    reference: str
    schedule: Schedule
    inputs_are: Literal["images", "tensors"]
    batch: int = 1
    timeout_s: float = 300.0


@dataclass(frozen=True)
class Result:
    """What the worker found: one measurement a candidate, and the names in the order in which blocks ran."""

    device: DeviceInfo
    measurements: tuple[Measurement, ...]
    reference: str
    sentinel_ms: tuple[float, float]
    order: tuple[str, ...] = ()


def write_job(folder: Path, job: Job, inputs: Arrays) -> None:
    """Write job.json and inputs.npz beside the model folders. Raises: UsageError for a job that cannot be run."""
    check_job(job)
    rows = {len(array) if array.ndim else 0 for array in inputs.values()}
    if len(rows) != 1 or rows == {0}:
        raise UsageError("inputs with the same number of rows, at least one", f"{sorted(rows)}", "give real samples")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RESULT).unlink(missing_ok=True)
    write_arrays(folder / INPUTS, "in:", inputs)
    records.save(folder / JOB, job)


def read_job(folder: Path) -> Job:
    """Read job.json. Raises: DamagedArtifact, MissingResource, UsageError."""
    job = records.load(Job, folder / JOB)
    check_job(job)
    return job


def read_inputs(folder: Path) -> Arrays:
    """The samples, by input name. Raises: DamagedArtifact, MissingResource."""
    return read_arrays(folder / INPUTS, "in:")


def check_job(job: Job) -> None:
    """Raises: UsageError for names that repeat, a reference that is not there, a folder outside, or no samples."""
    names = [candidate.name for candidate in job.candidates]
    if not names or len(set(names)) != len(names):
        raise UsageError("candidates with names of their own", f"{names}", "name each once")
    if job.reference not in names:
        raise UsageError(f"reference {job.reference!r}", f"candidates are {names}", "choose one of them")
    if job.kind not in ("latency", "outputs") or job.inputs_are not in ("images", "tensors"):
        raise UsageError("a job of a known kind", f"{job.kind!r} with {job.inputs_are!r}", "see bench/job.py")
    _check_schedule(job.schedule)
    counts = (*(c.threads for c in job.candidates), job.batch)
    if min(counts) < 1 or not job.timeout_s > 0:
        raise UsageError("threads, batch and timeout_s of at least 1", f"{counts} and {job.timeout_s:g} s", "")
    for candidate in job.candidates:
        path = PurePosixPath(candidate.folder)
        if path.is_absolute() or ".." in path.parts:
            raise UsageError(f"candidate {candidate.name!r}", f"folder {path} is outside the job", "put it inside")


def _check_schedule(schedule: Schedule) -> None:
    counts = {name: value for name, value in vars(schedule).items() if name not in ("scenario", "profiled")}
    if min(counts.values()) < 1 or schedule.profiled < 0:
        raise UsageError(f"{', '.join(counts)} of at least 1", f"{counts}", "")
    if schedule.scenario not in SCENARIOS:
        todo = f"choose from: {', '.join(SCENARIOS)}"
        raise UsageError(f"scenario {schedule.scenario!r}", "no such scenario", todo)
    if schedule.streams > 1 and schedule.scenario != "multi-stream":
        raise UsageError(f"{schedule.streams} streams", f"the scenario is {schedule.scenario}", "ask for multi-stream")
    if schedule.profiled and schedule.scenario == "cold-start":
        raise UsageError("times by layer of a cold start", "one inference is too few", "ask for single-stream")
    if schedule.block_size > 1 and schedule.scenario == "cold-start":
        raise UsageError(f"blocks of {schedule.block_size}", "a process starts cold once", "ask for blocks of 1")


def write_result(folder: Path, result: Result) -> None:
    """Write result.json, last of all and atomically."""
    records.save(folder / RESULT, result)


def read_result(folder: Path, job: Job) -> Result:
    """Read result.json and compare it with what was asked. Raises: DamagedArtifact, MissingResource."""
    path = folder / RESULT
    try:
        result = records.load(Result, path)
        problem = _problem(result, job)
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        raise DamagedArtifact(f"read {path}", f"{error}", "run the job again") from error
    if problem:
        raise DamagedArtifact(f"read {path}", problem, "run the job again")
    return result


def _problem(result: Result, job: Job) -> str:
    names = [candidate.name for candidate in job.candidates]
    if [row.target for row in result.measurements] != names or result.reference != job.reference:
        return f"rows {[row.target for row in result.measurements]} where {names} were asked"
    for row in result.measurements:
        if row.state not in ("measured", "failed", "not_measured"):
            return f"{row.target} is in the unknown state {row.state!r}"
        if row.state != "measured" or job.kind != "latency":
            continue
        blocks = row.latency.blocks_ms if row.latency else ()
        if [len(block) for block in blocks] != [job.schedule.block_size] * job.schedule.blocks:
            return f"{row.target} has not {job.schedule.blocks} blocks of {job.schedule.block_size} samples"
        if not all(math.isfinite(sample) and sample > 0 for block in blocks for sample in block):
            return f"{row.target} has samples that are not times"
    return ""


def outputs_file(number: int) -> str:
    """Name of the outputs of candidate `number`."""
    return f"outputs-{number}.npz"


def log_file(number: int) -> str:
    """Name of what candidate `number` wrote to its standard error."""
    return f"candidate-{number}.log"


def read_outputs(folder: Path, number: int, exported: Exported, rows: int) -> Arrays:
    """One candidate's outputs by name, checked against what the model promises. Raises: DamagedArtifact."""
    path = folder / outputs_file(number)
    arrays = read_arrays(path, "out:")
    if set(arrays) != {spec.name for spec in exported.outputs}:
        raise DamagedArtifact(f"read {path}", f"outputs {sorted(arrays)}", "run the job again")
    for spec in exported.outputs:
        array = arrays[spec.name]
        rest = zip(spec.shape[1:], array.shape[1:])
        fits = array.ndim == len(spec.shape) and all(isinstance(a, str) or a == b for a, b in rest)
        if not fits or len(array) != rows or array.dtype != spec.numpy_type:
            found = f"{array.dtype} {array.shape} where {rows} rows of {spec.dtype} {spec.shape} were promised"
            raise DamagedArtifact(f"read output {spec.name!r} of {path}", found, "run the job again")
    return arrays


def write_arrays(path: Path, prefix: str, arrays: Arrays) -> None:
    """Write an .npz; the prefix keeps a tensor called "file" from meeting an argument of numpy's."""
    np.savez(path, **{prefix + name: array for name, array in arrays.items()})  # type: ignore[arg-type]


def read_arrays(path: Path, prefix: str) -> Arrays:
    """Read an .npz without pickles. Raises: DamagedArtifact, MissingResource."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {key.removeprefix(prefix): file[key] for key in file.files}
    except FileNotFoundError as error:
        raise MissingResource(f"read {path}", "no such file", "run the job again") from error
    except (ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise DamagedArtifact(f"read {path}", f"{error}", "run the job again") from error
