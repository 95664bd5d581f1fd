"""`python -m edgesmith.bench.child JOB_FOLDER NUMBER`: holds one candidate open and does what the worker asks.

Questions come as JSON lines on standard input, answers go out on standard output. Vendor libraries print there
too, so the real standard output is kept aside and descriptor 1 points to standard error.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgesmith.artifact import load_exported
from edgesmith.bench import feeds, protocol
from edgesmith.bench.engines import with_engine
from edgesmith.bench.job import outputs_file, read_inputs, read_job, write_arrays
from edgesmith.bench.pipe import die_with_parent
from edgesmith.errors import EdgesmithError, MissingPackage, MissingResource
from edgesmith.records import to_json
from edgesmith.runtimes import RUNTIMES
from edgesmith.runtimes.executed import placement, told_by
from edgesmith.runtimes.profile import layer_times, profiled_by
from edgesmith.runtimes.session import RunOptions, Session, is_timed
from edgesmith.tensors import Arrays


class Subject:
    """The candidate in this process: loaded, warmed up, run block by block."""

    def __init__(self, folder: Path, number: int) -> None:
        self._folder, self._number = folder, number
        self._job = read_job(folder)
        self._candidate = self._job.candidates[number]
        self._open = contextlib.ExitStack()
        self._session: Session
        self._beside: list[Session] = []
        self._feeds: list[Arrays] = []
        self._done = 0

    def load(self) -> dict[str, Any]:
        """Check the artefact, open it (twice for a latency job: first and later load) and prepare the inputs."""
        artefact = load_exported(self._folder / self._candidate.folder, check=True)
        self._exported = with_engine(artefact, self._candidate.rebuild)
        runtime = RUNTIMES.get(self._exported.runtime)
        options = self._options()
        asked, found = self._asked_batch(), feeds.batch_of(self._exported, self._asked_batch())
        if self._job.kind == "latency" and asked not in (1, found):
            reason = f"it is made for batches of {found}, not of {asked}; export it with a dynamic batch"
            return {"state": "not_measured", "reason": reason, "batch": asked}
        times = [self._opened(options)]
        if self._job.kind == "latency" and self._job.schedule.scenario != "cold-start":
            times.append(self._opened(options))
        version = getattr(self._session, "version", "") or runtime.version()
        facts = {"engine": self._session.engine, "precision": self._session.precision, "version": version}
        if self._job.kind == "latency" and not is_timed(self._session):
            reason = f"{facts['engine']} is an interpreter, its time says nothing about a device; time it on one"
            return {"state": "not_measured", "reason": reason, **facts}
        for _ in range(self._job.schedule.streams - 1):
            self._beside.append(self._open.enter_context(runtime.open(self._exported, options)))
        inputs, kind = read_inputs(self._folder), self._job.inputs_are
        if self._job.kind == "latency":
            self._feeds = feeds.latency_feeds(self._exported, inputs, kind, self._job.schedule.batch)
        return {
            "load_ms": times,
            **facts,
            "size_bytes": self._exported.size_bytes,
            "instruction_set": self._exported.instruction_set,
            "batch": found,
        }

    def first(self) -> dict[str, Any]:
        """The first inference of this process, and what a later load takes."""
        first_ms = protocol.sample(self._session.run, self._feeds, 0, 1)[0]
        return {"first_ms": first_ms, "later_load_ms": self._opened(self._options())}

    def warm(self) -> dict[str, Any]:
        """Run until times are steady."""
        samples, steady = protocol.warm_up(self._session.run, self._feeds, self._job.schedule.warmup)
        self._done = len(samples)
        for session in self._beside:
            protocol.sample(session.run, self._feeds, 0, self._job.schedule.warmup)
        return {"first_ms": samples[0], "warmup": len(samples), "steady": steady}

    def block(self) -> dict[str, Any]:
        """Take one block of samples."""
        # Other candidates have had the caches since the last block: one run that is not a sample.
        runs = [session.run for session in (self._session, *self._beside)]
        for run in runs:
            run(self._feeds[self._done % len(self._feeds)])
        begin, count = time.perf_counter_ns(), self._job.schedule.block_size
        if len(runs) > 1:
            samples = protocol.sample_streams(runs, self._feeds, self._done, count)
        else:
            samples = protocol.sample(runs[0], self._feeds, self._done, count)
        self._done += len(samples)
        return {"samples_ms": samples, "wall_ms": (time.perf_counter_ns() - begin) / 1e6}

    def outputs(self) -> dict[str, Any]:
        """Run every row and leave the outputs in a file."""
        arrays = feeds.run_all(
            self._session.run, self._exported, read_inputs(self._folder), self._job.inputs_are, self._asked_batch()
        )
        write_arrays(self._folder / outputs_file(self._number), "out:", arrays)
        return {"rows": len(next(iter(arrays.values())))}

    def place(self) -> dict[str, Any]:
        """Where the work is done, as far as the runtime can tell."""
        told = told_by(self._session)
        return {"placement": to_json(placement(self._exported, told)) if told is not None else None}

    def profile(self) -> dict[str, Any]:
        """Times by layer, as far as the runtime has a profiler."""
        found = profiled_by(self._session, self._feeds, self._job.schedule.profiled)
        return {"layers": to_json(layer_times(self._exported, found)) if found is not None else None}

    def device(self) -> dict[str, Any]:
        """Milliseconds of an accelerator's own work, as far as the session can tell them."""
        timed = getattr(self._session, "device_ms", None)
        return {"device_ms": list(timed(self._feeds, self._job.schedule.block_size)) if timed is not None else []}

    def peak(self) -> dict[str, Any]:
        """Peak memory so far."""
        return {"peak_bytes": peak_bytes()}

    def finish(self) -> dict[str, Any]:
        """Peak memory so far. A library that crashes while it is closed takes no sample away: the answer is out."""
        return {"peak_bytes": peak_bytes()}

    def _opened(self, options: RunOptions) -> float:
        """Open the model anew; how many ms that takes."""
        self._open.close()
        begin = time.perf_counter_ns()
        self._session = self._open.enter_context(RUNTIMES.get(self._exported.runtime).open(self._exported, options))
        return (time.perf_counter_ns() - begin) / 1e6

    def _options(self) -> RunOptions:
        return RunOptions(self._candidate.threads, self._candidate.graph)

    def _asked_batch(self) -> int:
        return self._job.schedule.batch if self._job.kind == "latency" else self._job.batch


def peak_bytes() -> int:
    """The largest resident size of this process so far."""
    with contextlib.suppress(OSError, ValueError, StopIteration):
        # Linux's ru_maxrss begins with the size of the process that started this one; VmHWM does not.
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) * 1024
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else largest * 1024


def answer(act: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What an action returns, or its failure as data: a missing package or resource is not a failure."""
    try:
        return act()
    except (MissingPackage, MissingResource) as error:
        return {"state": "not_measured", "reason": str(error)}
    except EdgesmithError as error:
        return {"state": "failed", "reason": str(error)}
    except Exception as error:
        return {"state": "failed", "reason": f"{type(error).__name__}: {error}"}


def main(arguments: list[str]) -> int:
    """Serve until standard input ends or the worker says finish."""
    questions, answers = _own_pipes()
    die_with_parent(signal.SIGKILL)
    folder, number = Path(arguments[0]), int(arguments[1])
    subject: Subject | None = None
    for line in questions:
        question = json.loads(line)

        def act(do: str = question["do"]) -> dict[str, Any]:
            nonlocal subject
            subject = subject or Subject(folder, number)
            return getattr(subject, do)()  # type: ignore[no-any-return]

        answers.write(json.dumps({"number": question["number"], **answer(act)}) + "\n")
        answers.flush()
        if question["do"] == "finish":
            break
    return 0


def _own_pipes() -> tuple[Any, Any]:
    questions, answers = os.fdopen(os.dup(0), "r"), os.fdopen(os.dup(1), "w")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    return questions, answers


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
