"""Joules for an inference: gauges are read beside each block, by the worker and not by the process that is timed."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from edgesmith import intervals
from edgesmith.devices.power import Found, Gauge
from edgesmith.results import Energy

IDLE_S = 1.0
_RENEWALS = 10  # a block that spans fewer renewals of a gauge says little about itself
_LOOK_S = {"joules": 10.0, "watts": 0.02}  # a counter must not wrap twice unseen; a power is integrated
_NONE = "no energy counter here: no RAPL, no INA3221, no NVIDIA library"


@dataclass
class Spent:
    """Energy of one stretch of time by gauge; nan where a reading failed. rows: how many inferences it was for."""

    joules: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    rows: int = 0


class Meter:
    """The gauges of this machine. idle: stretches in which nothing of ours ran."""

    def __init__(self, found: Found) -> None:
        self._found = found
        self.idle: list[Spent] = []

    def rest(self, seconds: float = IDLE_S) -> None:
        """Measure the idle machine; without a gauge no time is spent on it."""
        if self._found.gauges:
            with self.watch() as spent:
                time.sleep(seconds)
            self.idle.append(spent)

    @contextmanager
    def watch(self) -> Iterator[Spent]:
        """Energy between the begin and the end of the block."""
        spent, began = Spent(), time.monotonic()
        traces = [_Trace(gauge) for gauge in self._found.gauges]
        over = threading.Event()
        looks = min((_LOOK_S[gauge.unit] for gauge in self._found.gauges), default=0.0)
        thread = threading.Thread(target=_look_on, args=(traces, over, looks), daemon=True)
        if traces:
            thread.start()
        try:
            yield spent
        finally:
            over.set()
            if traces:
                thread.join()
            for trace in traces:
                trace.look()
            spent.joules = {trace.gauge.source: trace.joules for trace in traces}
            spent.seconds = time.monotonic() - began

    def told(self, blocks: Sequence[Spent]) -> tuple[Energy, ...]:
        """What each gauge says of one candidate's blocks, and why those that say nothing do not."""
        barred = tuple(Energy(source, reason=reason) for source, reason in self._found.barred)
        measured = tuple(_energy(gauge, blocks, self.idle) for gauge in self._found.gauges)
        return (measured + barred) or (Energy("", reason=_NONE),)


class _Trace:
    """Joules of one gauge since it was made."""

    def __init__(self, gauge: Gauge) -> None:
        self.gauge, self.joules = gauge, 0.0
        self._last: tuple[float, ...] | None = None
        self._at = 0.0
        self.look()

    def look(self) -> None:
        """Add what came since the last look; a reading that fails makes the whole stretch unknown."""
        try:
            now, at = self.gauge.read(), time.monotonic()
        except (OSError, ValueError):
            self.joules = float("nan")
            return
        if self._last is not None:
            self.joules += added(self.gauge, self._last, now, at - self._at)
        self._last, self._at = now, at


def _look_on(traces: Sequence[_Trace], over: threading.Event, seconds: float) -> None:
    while not over.wait(seconds):
        for trace in traces:
            trace.look()


def added(gauge: Gauge, before: tuple[float, ...], after: tuple[float, ...], seconds: float) -> float:
    """Joules between two readings: a counter may have begun again at 0 once, a power is taken as straight between."""
    if gauge.unit == "watts":
        return seconds * (sum(before) + sum(after)) / 2
    steps = [last - first for first, last in zip(before, after)]
    wraps = gauge.wraps_at or (float("inf"),) * len(steps)
    if any(step < 0 and wrap == float("inf") for step, wrap in zip(steps, wraps)):
        return float("nan")  # a counter that nobody says the range of went back
    return sum(step + wrap if step < 0 else step for step, wrap in zip(steps, wraps))


def _energy(gauge: Gauge, blocks: Sequence[Spent], idle: Sequence[Spent]) -> Energy:
    joules = np.array([block.joules.get(gauge.source, np.nan) for block in blocks])
    seconds, rows = np.array([block.seconds for block in blocks]), np.array([block.rows for block in blocks])
    shortest = float(seconds.min()) if len(blocks) else 0.0
    if not len(blocks) or not np.all(np.isfinite(joules)) or not rows.all():
        return Energy(gauge.source, reason="a reading failed" if len(blocks) else "no block was run")
    if shortest < _RENEWALS * gauge.period_s:
        need = f"it is renewed every {1e3 * gauge.period_s:g} ms; ask for larger blocks"
        return Energy(gauge.source, reason=f"a block takes {1e3 * shortest:.1f} ms, {need}")
    powers = tuple(rest.joules[gauge.source] / rest.seconds for rest in idle if rest.seconds > 0)
    idle_w = float(np.mean(powers)) if powers and np.all(np.isfinite(powers)) else None
    net = intervals.mean((joules - idle_w * seconds) / rows) if idle_w is not None else None
    return Energy(gauge.source, intervals.mean(joules / rows), net, idle_w, powers, len(blocks))
