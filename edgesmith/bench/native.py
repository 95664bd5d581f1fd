"""Latency by native programs, on a device without Python: candidates alternate by short invocations.

Programs print a median or a mean of their runs and not every one, so one invocation is one sample: the median of
samples is then that of invocations, and higher percentiles of single runs are not known.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from edgesmith.artifact import Exported
from edgesmith.bench import clocks, protocol
from edgesmith.bench.job import Schedule
from edgesmith.bench.runners import RUNNERS, Tool
from edgesmith.devices.device import Device
from edgesmith.devices.entry import Runner
from edgesmith.errors import DamagedArtifact, EngineFailed, MissingResource
from edgesmith.results import BenchRecord, Latency, Measurement
from edgesmith.targets import foreign_plan

_SENTINEL = "date +%s%N; i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; date +%s%N"
_ROUND_TRIP_S = 5.0  # to ask a phone for its date
_NOTE = "each sample is the {} of {} runs of one invocation; its inputs are made by the program"


@dataclass
class _Invoked:
    """One candidate, and what its invocations said so far."""

    exported: Exported
    runner: Runner | None
    threads: int
    schedule: Schedule
    times: list[Mapping[str, float]] = field(default_factory=list)
    state: Literal["measured", "failed", "not_measured"] = "measured"
    reason: str = ""

    @property
    def tool(self) -> Tool:
        return RUNNERS.get(self.runner.use if self.runner else "")

    def invoke(self, device: Device, model: str, timeout_s: float) -> None:
        """Run the program once; after a failure nothing more is tried."""
        if self.state != "measured":
            return
        if self.runner is None:
            runtime = self.exported.runtime
            self._give_up("not_measured", f"the device file names no runner for {runtime} on {device.name}")
            return
        words = {"program": self.runner.program, "model": model, "threads": str(self.threads)}
        words |= {"runs": str(self.schedule.block_size), "warmup": str(self.schedule.warmup)}
        try:
            argv = self.tool.command(**words, shape=_shape(self.exported))
            ended = device.run(argv, timeout_s)
            output = ended.stdout + "\n" + ended.stderr
            if ended.timed_out or ended.returncode != 0:
                how = f"no end after {timeout_s:g} s" if ended.timed_out else f"status {ended.returncode}"
                last = " | ".join(output.strip().splitlines()[-3:])
                self._give_up("failed", f"{self.tool.engine}: {how}; its last lines: {last}")
                return
            self.times.append(self.tool.read(output))
        except (MissingResource, EngineFailed, DamagedArtifact) as error:
            # An output that does not parse says nothing about the model, as little as a program that is not there.
            self._give_up("not_measured", str(error))

    def measurement(self, name: str) -> Measurement:
        """The row of this candidate."""
        engine = self.tool.engine if self.runner else ""
        precision = self.exported.precision
        if self.state != "measured" or not self.times:
            return Measurement(name, self.state, self.reason, engine=engine, precision=precision, threads=self.threads)
        blocks = tuple((time["latency_ms"],) for time in self.times)
        return Measurement(
            name,
            "measured",
            engine=engine,
            precision=precision,
            threads=self.threads,
            latency=Latency(blocks, self.schedule.warmup),
            load_ms=tuple(time["load_ms"] for time in self.times if "load_ms" in time),
            first_ms=self.times[0].get("first_ms"),
            size_bytes=self.exported.size_bytes,
            notes=(_NOTE.format(self.tool.statistic, self.schedule.block_size),),
        )

    def _give_up(self, state: Literal["failed", "not_measured"], reason: str) -> None:
        self.state, self.reason = state, reason


def measure_native(
    device: Device,
    folder: Path,
    exported: Mapping[str, Exported],
    schedule: Schedule,
    reference: str,
    threads: int,
    timeout_s: float,
    progress: Callable[[str], None] | None = None,
) -> BenchRecord:
    """Time candidates by the device's own programs; one row each, measured or with its reason.

    Raises: MissingResource when the device itself is out of reach.
    """
    runners: Mapping[str, Runner] = getattr(device, "runners", {})
    trials = {n: _Invoked(model, runners.get(model.runtime), threads, schedule) for n, model in exported.items()}
    places = {name: f"model-{number}/{model.main}" for number, (name, model) in enumerate(exported.items())}
    folder.mkdir(parents=True, exist_ok=True)
    for number, model in enumerate(exported.values()):
        shutil.copytree(model.root, folder / f"model-{number}", dirs_exist_ok=True)
    remote = device.place(folder)
    with device.reserve():
        try:
            device.push(folder, remote)
            began, before = _clocks(device), _sentinel_ms(device)
            for number, names in enumerate(protocol.rounds(list(trials), schedule.blocks), 1):
                if progress is not None:
                    progress(f"round {number} of {schedule.blocks}")
                for name in names:
                    trials[name].invoke(device, f"{remote}/{places[name]}", timeout_s)
            sentinel, remarks = (before, _sentinel_ms(device)), clocks.jumps(began, _clocks(device), _ROUND_TRIP_S)
        finally:
            device.remove(remote)
            for number in range(len(exported)):
                shutil.rmtree(folder / f"model-{number}", ignore_errors=True)
    info = device.info()
    rows = []
    for name, model in exported.items():
        row, warned = trials[name].measurement(name), foreign_plan(model.instruction_set, info.instruction_set)
        rows.append(replace(row, notes=(*row.notes, *warned, *remarks)))
    return BenchRecord(info, tuple(rows), reference, sentinel)


def _clocks(device: Device) -> clocks.Clocks:
    """The device's date beside our own steady clock; one that tells no date is never said to have jumped."""
    said, steady = device.run(["date", "+%s"], 60).stdout.strip(), time.monotonic()
    return clocks.Clocks(float(said) if said.isdigit() else float("nan"), steady, steady)


def _sentinel_ms(device: Device, repeats: int = 3) -> float:
    """Milliseconds of a fixed loop of the device's shell, by its own clock; 0 where that does not work."""
    found = []
    for _ in range(repeats):
        stamps = device.run(["sh", "-c", _SENTINEL], 60).stdout.split()
        if len(stamps) != 2 or not all(stamp.isdigit() for stamp in stamps):
            return 0.0
        found.append((int(stamps[1]) - int(stamps[0])) / 1e6)
    return max(0.0, min(found))


def _shape(exported: Exported) -> str:
    """Width, height and channels of each input, as ncnn writes shapes: [w,h,c],[w,h,c]."""
    return ",".join("[" + ",".join(str(size) for size in reversed(spec.shape[1:])) + "]" for spec in exported.inputs)
