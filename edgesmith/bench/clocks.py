"""Clocks that jump while something is measured: latencies come from a steady clock, dates and batteries do not."""

from __future__ import annotations

import time
from dataclasses import dataclass

_TOLERATED_S = 1.0


@dataclass(frozen=True)
class Clocks:
    """Seconds of the wall clock, of the steady clock, and of the one that also runs while the machine sleeps."""

    wall_s: float
    steady_s: float
    awake_or_not_s: float


def now() -> Clocks:
    """All three; where a system has no clock that runs in its sleep, the steady one stands in for it."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    steady = time.monotonic()
    return Clocks(time.time(), steady, steady if boot is None else time.clock_gettime(boot))


def jumps(before: Clocks, after: Clocks, tolerated_s: float = _TOLERATED_S) -> tuple[str, ...]:
    """What a reader of the rows must know of the clocks between two moments."""
    steady = after.steady_s - before.steady_s
    slept = (after.awake_or_not_s - before.awake_or_not_s) - steady
    jumped = (after.wall_s - before.wall_s) - steady - slept
    found = []
    if abs(slept) > tolerated_s:
        found.append(f"warning: the device slept for {slept:.0f} s in between")
    if abs(jumped) > tolerated_s:
        found.append(f"the wall clock was set by {jumped:+.0f} s in between; latencies are of a steady clock")
    return tuple(found)
