"""`python -m edgesmith.bench.worker JOB_FOLDER`: the scheduler on the device.

It starts one child process a candidate, keeps them open, and lets them run their blocks by turns. A child that
dies, hangs or refuses is a row with its reason, and the others go on. It needs Python 3.10 and numpy; vendor
packages are needed in the children alone. result.json is written last.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from edgesmith.bench import clocks, protocol
from edgesmith.bench.energy import Meter, Spent
from edgesmith.bench.job import Job, Result, log_file, read_job, write_result
from edgesmith.bench.pipe import Child, die_with_parent
from edgesmith.devices.facts import own_instruction_set, this_machine
from edgesmith.devices.power import Found, find
from edgesmith.errors import EdgesmithError
from edgesmith.records import from_json
from edgesmith.results import Latency, LayerTimes, Measurement, Placement
from edgesmith.targets import foreign_plan

_SOURCE = Path(__file__).resolve().parents[2]
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


class Trial:
    """One candidate's child and what is known of it so far; after a failure it does nothing more."""

    def __init__(self, folder: Path, job: Job, number: int, meter: Meter) -> None:
        self._folder, self._job, self._number, self._meter = folder, job, number, meter
        self.candidate = job.candidates[number]
        self._child: Child | None = None
        self._facts: dict[str, Any] = {}
        self._blocks: list[tuple[float, ...]] = []
        self._walls: list[float] = []
        self._spent: list[Spent] = []
        self._state: Literal["measured", "failed", "not_measured"] = "measured"
        self._reason = ""
        self._placement: Placement | None = None
        self._layers: LayerTimes | None = None
        self._device_ms: tuple[float, ...] = ()

    def start(self) -> None:
        """Start the child and load the model."""
        argv = [self.candidate.python or sys.executable, "-m", "edgesmith.bench.child"]
        argv += [str(self._folder), str(self._number)]
        log = self._folder / log_file(self._number)
        try:
            self._child = Child(argv, _environment(self.candidate.threads), log)
        except EdgesmithError as error:
            self._give_up("not_measured", str(error))
        self.ask("load")

    def ask(self, do: str, what: str = "") -> bool:
        """Ask the child for one step and keep what it says; whether it was done."""
        if self._child is None:
            return False
        try:
            found = self._child.ask({"do": do}, self._job.timeout_s)
        except EdgesmithError as error:
            self._give_up("failed", f"{what or do}: {error.found}")
            return False
        if "state" in found:
            self._facts.update(found)
            self._give_up("not_measured" if found["state"] == "not_measured" else "failed", str(found["reason"]))
            return False
        if "samples_ms" in found:
            self._blocks.append(tuple(found["samples_ms"]))
            self._walls.append(found["wall_ms"])
        self._facts.update(found)
        return True

    def block(self, number: int) -> bool:
        """Ask for one block of samples, with the gauges read beside it."""
        with self._meter.watch() as spent:
            done = self.ask("block", f"block {number}")
        if done:
            # One run of each session is not a sample, but it takes energy.
            runs = len(self._blocks[-1]) + self._job.schedule.streams
            self._spent.append(replace(spent, rows=runs * self._facts.get("batch", 1)))
        return done

    def cold(self, what: str) -> bool:
        """Load and answer once in a fresh process; whether it was done. The time of both is the sample."""
        if self._state != "measured":
            return False
        self.start()
        if not self.ask("first", what):
            return False
        taken = self._facts["load_ms"][0] + self._facts["first_ms"]
        self._facts["load_ms"].append(self._facts["later_load_ms"])
        self._blocks.append((taken,))
        self._walls.append(taken)
        self.finish()
        return self._state == "measured"

    def place(self) -> None:
        """Ask where the work is done; who cannot answer, or breaks over it, keeps the outputs there are."""
        found = self._besides("place", "unplaced")
        if found.get("placement"):
            self._placement = replace(from_json(Placement, found["placement"]), target=self.candidate.name)

    def device(self) -> None:
        """Ask for the accelerator's own times; who has none, or breaks over it, keeps the samples there are."""
        self._device_ms = tuple(self._besides("device", "untimed").get("device_ms", ()))

    def profile(self) -> None:
        """Ask for times by layer; who cannot answer, or breaks over it, keeps the samples there are."""
        self.ask("peak")  # a profiler takes memory of its own
        found = self._besides("profile", "unprofiled")
        if found.get("layers"):
            self._layers = from_json(LayerTimes, found["layers"])
        elif found and not self._facts["unprofiled"]:
            self._facts["unprofiled"] = f"{self._facts['engine']} has no profiler here"

    def _besides(self, do: str, reason: str) -> dict[str, Any]:
        """Ask for what takes no sample away when it fails; then the fact `reason` says why."""
        if self._child is None:
            return {}
        try:
            found: dict[str, Any] = self._child.ask({"do": do}, self._job.timeout_s)
        except EdgesmithError as error:
            self._facts[reason] = error.found
            self.end()
            return {}
        self._facts[reason] = found.get("reason", "")
        return found

    def finish(self) -> None:
        """Ask for the memory peak and end the child."""
        if self._layers is None:
            self.ask("finish")
        self.end()

    def end(self) -> None:
        """End the child, whatever it does."""
        if self._child is not None:
            self._child.end()
            self._child = None

    def measurement(self) -> Measurement:
        """The row of this candidate."""
        facts, done = self._facts, self._state == "measured"
        return Measurement(
            target=self.candidate.name,
            state=self._state,
            reason=self._reason,
            engine=facts.get("engine", ""),
            version=facts.get("version", ""),
            precision=facts.get("precision", ""),
            batch=facts.get("batch", 1),
            threads=self.candidate.threads,
            latency=Latency(tuple(self._blocks), facts.get("warmup", 0)) if done and self._blocks else None,
            load_ms=tuple(facts.get("load_ms", ())),
            first_ms=facts.get("first_ms"),
            peak_bytes=facts.get("peak_bytes"),
            size_bytes=facts.get("size_bytes"),
            notes=tuple(_notes(facts)),
            scenario=self._job.schedule.scenario,
            streams=self._job.schedule.streams,
            wall_ms=tuple(self._walls) if done else (),
            placement=self._placement,
            layers=self._layers,
            device_ms=self._device_ms,
            energy=self._meter.told(self._spent) if done and self._spent else (),
        )

    def _give_up(self, state: Literal["failed", "not_measured"], reason: str) -> None:
        self._state, self._reason = state, reason
        self.end()


def _notes(facts: dict[str, Any]) -> Iterator[str]:
    """What a reader of the row must know."""
    if not facts.get("steady", True):
        yield f"not steady after {facts['warmup']} runs of warm-up"
    if facts.get("unplaced"):
        yield f"where its work is done is not known: {facts['unplaced']}"
    if facts.get("untimed"):
        yield f"the accelerator's own times are not known: {facts['untimed']}"
    if facts.get("unprofiled"):
        yield f"times by layer are not known: {facts['unprofiled']}"
    yield from foreign_plan(facts.get("instruction_set", ""), own_instruction_set())


def run_job(folder: Path, job: Job, say: Callable[[str], None], gauges: Found | None = None) -> Result:
    """Do a job; whatever happens, no child is left behind. gauges: of energy, those of this machine by default."""
    blocks = job.kind == "latency" and job.schedule.scenario != "cold-start"
    meter = Meter((find() if gauges is None else gauges) if blocks else Found(()))
    trials = {candidate.name: Trial(folder, job, number, meter) for number, candidate in enumerate(job.candidates)}
    before, began = protocol.sentinel_ms(), clocks.now()
    meter.rest()
    try:
        do = _outputs if job.kind == "outputs" else _cold if job.schedule.scenario == "cold-start" else _latency
        order = do(trials, job, say)
    finally:
        for trial in trials.values():
            trial.end()
    meter.rest()
    remarks = clocks.jumps(began, clocks.now())
    found = (trial.measurement() for trial in trials.values())
    rows = tuple(replace(row, notes=(*row.notes, *remarks)) for row in found)
    return Result(this_machine(), rows, job.reference, (before, protocol.sentinel_ms()), tuple(order))


def _latency(trials: dict[str, Trial], job: Job, say: Callable[[str], None]) -> list[str]:
    for name, trial in trials.items():
        say(f"load and warm up {name}")
        trial.start()
        trial.ask("warm", "warm up")
    order = []
    for number, names in enumerate(protocol.rounds(list(trials), job.schedule.blocks), 1):
        say(f"round {number} of {job.schedule.blocks}")
        order += [name for name in names if trials[name].block(number)]
    for trial in trials.values():
        trial.device()
        if job.schedule.profiled:
            trial.profile()
        trial.finish()
    return order


def _cold(trials: dict[str, Trial], job: Job, say: Callable[[str], None]) -> list[str]:
    order = []
    for number, names in enumerate(protocol.rounds(list(trials), job.schedule.blocks), 1):
        say(f"round {number} of {job.schedule.blocks}")
        order += [name for name in names if trials[name].cold(f"cold start {number}")]
    return order


def _outputs(trials: dict[str, Trial], job: Job, say: Callable[[str], None]) -> list[str]:
    for name, trial in trials.items():
        say(f"run {name}")
        trial.start()
        trial.ask("outputs")
        trial.place()
        trial.finish()
    return list(trials)


def _environment(threads: int) -> dict[str, str]:
    path = [str(_SOURCE), *filter(None, [os.environ.get("PYTHONPATH")])]
    counts = dict.fromkeys(_THREAD_VARIABLES, str(threads))
    return {**os.environ, **counts, "PYTHONPATH": os.pathsep.join(path), "PYTHONSAFEPATH": "1"}


def _stop(number: int, frame: object) -> None:
    raise SystemExit(128 + number)


def main(arguments: list[str]) -> int:
    """Run the job in a folder; progress goes to standard output, an error to standard error."""
    signal.signal(signal.SIGTERM, _stop)  # so that the children are ended on the way out
    die_with_parent(signal.SIGTERM)  # a run that was killed must not go on measuring beside the next one
    folder = Path(arguments[0]).resolve()
    try:
        write_result(folder, run_job(folder, read_job(folder), lambda line: print(line, flush=True)))
    except EdgesmithError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
