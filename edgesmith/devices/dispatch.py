"""Which job of a fleet runs where next: the policy alone, without a clock, a thread or a machine.

The longest jobs are planned first, each for the device that would end it earliest; how fast a device is shows by the
jobs it has done. A device with nothing left takes over a job from the one that is furthest behind, if it would end it
sooner. A failed job is tried again, elsewhere if it can be; a device that only fails or is out of reach is left alone.
Source: longest first, Graham 1969, "Bounds on multiprocessing timing anomalies"; on machines of different speeds,
Gonzalez, Ibarra and Sahni 1977, "Bounds for LPT schedules on uniform processors".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from edgesmith.errors import UsageError


@dataclass(frozen=True)
class FleetJob:
    """One measurement. devices: those that may run it, one of them does. seconds: how long it may take; where nobody
    knows, the same number for all jobs."""

    key: str
    devices: tuple[str, ...]
    seconds: float = 1.0


@dataclass(frozen=True)
class Limits:
    """How often and how long something is tried.

    tries: of one job. pause_s: the rest of a device after a failure, twice as long after each that follows at once.
    in_a_row: failures with no success between them, after which a device is left alone. busy_s: how long a job waits
    for somebody else who measures on its device.
    """

    tries: int = 3
    pause_s: float = 2.0
    in_a_row: int = 5
    busy_s: float = 3600.0


@dataclass
class _Line:
    """What one device does, has done and is to do. queued_s: the sum over its queue."""

    queue: list[FleetJob] = field(default_factory=list)
    queued_s: float = 0.0
    running: FleetJob | None = None
    started: float = 0.0
    rests_until: float = 0.0
    failures: int = 0
    taken_s: float = 0.0
    planned_s: float = 0.0
    out: str = ""


class Dispatch:
    """The state of a fleet. Times are seconds of any clock that does not go backwards.

    done: keys of the jobs that ended well. given_up: key -> why there is no result.
    """

    def __init__(self, jobs: Sequence[FleetJob], devices: Iterable[str], limits: Limits = Limits()) -> None:
        self._lines = {name: _Line() for name in devices}
        _check(jobs, self._lines, limits)
        self._jobs, self._limits = len(jobs), limits
        able = {job.devices: frozenset(job.devices) for job in jobs}
        self._able = {job.key: able[job.devices] for job in jobs}
        self._peers = {name: set().union(*(one for one in able.values() if name in one)) for name in self._lines}
        self._behind: set[str] = set()  # devices with something in their queue
        self._tried: dict[str, int] = {}
        self._busy_since: dict[str, float] = {}
        self._taken_s = self._planned_s = 0.0
        self.done: set[str] = set()
        self.given_up: dict[str, str] = {}
        for job in sorted(jobs, key=lambda job: -job.seconds):
            self._queue(job, 0.0)

    @property
    def finished(self) -> bool:
        """Whether every job ended well or was given up."""
        return len(self.done) + len(self.given_up) == self._jobs

    def starts(self, now: float) -> list[tuple[FleetJob, str]]:
        """The jobs that begin now, each with its device; they count as running."""
        found = []
        free = [(name, line) for name, line in self._lines.items() if _is_free(line, now)]
        for name, line in sorted(free, key=lambda pair: not pair[1].queue):  # its own work first, then others'
            job = self._own(name, now) or self._taken_over(name, now)
            if job is not None:
                line.running, line.started = job, now
                found.append((job, name))
        return found

    def wakes_at(self, now: float) -> float | None:
        """When the next device has rested, None where none rests."""
        waiting = [line.rests_until for line in self._lines.values() if not line.running and not line.out]
        return min((end for end in waiting if end > now), default=None)

    def succeeded(self, device: str, now: float) -> None:
        """The job of a device ended well."""
        line, job = self._ended(device)
        line.failures, seconds = 0, now - line.started
        line.taken_s, line.planned_s = line.taken_s + seconds, line.planned_s + job.seconds
        self._taken_s, self._planned_s = self._taken_s + seconds, self._planned_s + job.seconds
        self.done.add(job.key)

    def failed(self, device: str, reason: str, now: float, again: bool = True) -> None:
        """The job of a device failed; it is tried again unless `again` is false or it was tried often enough."""
        line, job = self._ended(device)
        tried = self._tried[job.key] = self._tried.get(job.key, 0) + 1
        if again and tried < self._limits.tries:
            self._queue(job, now, avoid=device)
        else:
            self.given_up[job.key] = reason if tried == 1 else f"{reason} (tried {tried} times)"
        if again:  # what is refused for good says nothing of how the device fares
            line.rests_until = now + self._limits.pause_s * 2**line.failures
            line.failures += 1
            if line.failures >= self._limits.in_a_row:
                self.lost(device, f"{device} failed {line.failures} times in a row, at last: {reason}", now)

    def busy(self, device: str, reason: str, now: float) -> None:
        """Somebody else measures on the device: its job waits, which is no failure."""
        line, job = self._ended(device)
        since = self._busy_since.setdefault(job.key, now)
        line.rests_until = now + self._limits.pause_s
        if now - since >= self._limits.busy_s:
            self.given_up[job.key] = f"{reason}, for more than {self._limits.busy_s:g} s"
        else:
            self._queue(job, now)

    def lost(self, device: str, reason: str, now: float) -> None:
        """A device is out of reach: what was planned for it goes elsewhere, or is given up. A running job is told of
        by `failed`."""
        line = self._lines[device]
        line.out, waiting = line.out or reason, line.queue
        line.queue, line.queued_s = [], 0.0
        self._behind.discard(device)
        for job in waiting:
            self._queue(job, now)

    def _ended(self, device: str) -> tuple[_Line, FleetJob]:
        line = self._lines[device]
        if line.running is None:
            raise UsageError(f"end the job of {device}", "it runs none", "end only what `starts` began")
        job, line.running = line.running, None
        return line, job

    def _queue(self, job: FleetJob, now: float, avoid: str = "") -> None:
        best = self._best(job, now, avoid)
        if not best:
            self.given_up[job.key] = "; ".join(dict.fromkeys(self._lines[name].out for name in job.devices))
            return
        self._lines[best].queue.append(job)
        self._lines[best].queued_s += job.seconds
        self._behind.add(best)

    def _take(self, device: str, job: FleetJob) -> FleetJob:
        line = self._lines[device]
        line.queue.remove(job)
        line.queued_s -= job.seconds
        if not line.queue:
            self._behind.discard(device)
        return job

    def _best(self, job: FleetJob, now: float, avoid: str = "") -> str:
        """The device that would end a job earliest, after what is planned for it; "" where none is left."""
        able = [name for name in job.devices if not self._lines[name].out]
        others = [name for name in able if name != avoid] or able
        return min(others, key=lambda name: self._ends(name, now) + job.seconds * self._pace(name, now), default="")

    def _pace(self, device: str, now: float) -> float:
        """Seconds a device takes for a second that was planned; for one that has done nothing, those of the fleet.

        A job that is under way for longer than that says already how slow it is at least.
        """
        line = self._lines[device]
        taken, planned = (line.taken_s, line.planned_s) if line.planned_s else (self._taken_s, self._planned_s)
        pace = taken / planned if planned else 1.0
        if line.running and (elapsed := now - line.started) > pace * line.running.seconds:
            return (line.taken_s + elapsed) / (line.planned_s + line.running.seconds)
        return pace

    def _ends(self, device: str, now: float) -> float:
        """When a device will have done all that is planned for it."""
        line, pace = self._lines[device], self._pace(device, now)
        running = max(line.started + line.running.seconds * pace, now) if line.running else now
        return max(running, line.rests_until) + pace * line.queued_s

    def _own(self, device: str, now: float) -> FleetJob | None:
        """The next job of a device's own queue, after those are handed on that another would end sooner."""
        for job in tuple(self._lines[device].queue):
            self._take(device, job)
            if self._best(job, now) == device:
                return job
            self._queue(job, now)
        return None

    def _taken_over(self, device: str, now: float) -> FleetJob | None:
        """A job from the queue of the device that is furthest behind, if this one would end it sooner."""
        pace = self._pace(device, now)
        behind = ((self._ends(name, now), name) for name in self._behind & self._peers[device])
        for end, name in sorted(behind, reverse=True):
            for job in self._lines[name].queue:
                if device in self._able[job.key] and now + job.seconds * pace < end:
                    return self._take(name, job)
        return None


def _is_free(line: _Line, now: float) -> bool:
    return line.running is None and not line.out and line.rests_until <= now


def _check(jobs: Sequence[FleetJob], devices: Mapping[str, _Line], limits: Limits) -> None:
    keys = [job.key for job in jobs]
    if twice := sorted({key for key in keys if keys.count(key) > 1} if len(set(keys)) < len(keys) else ()):
        raise UsageError(f"run jobs {twice}", "they are named twice", "name each job once")
    for job in jobs:
        unknown = [name for name in job.devices if name not in devices]
        if unknown or not job.devices or not job.seconds > 0:
            found = f"devices {unknown} are not of the fleet" if unknown else f"{job}"
            raise UsageError(f"run job {job.key}", found, "give it devices of the fleet and a time above 0")
    if limits.tries < 1 or limits.in_a_row < 1 or limits.pause_s < 0 or limits.busy_s < 0:
        raise UsageError("run a fleet", f"{limits}", "tries and in_a_row are at least 1, times at least 0")
