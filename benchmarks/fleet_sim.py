"""How close to the shortest possible time does a fleet come: 10,000 jobs on 500 devices that differ and fail?

    python benchmarks/fleet_sim.py [--json FILE] [--quick]

A simulation: the policy is that of the real fleet (edgesmith/devices/dispatch.py), time and devices are drawn. Devices
differ in speed by a factor that the policy does not know (log-normal, the middle 95 % within 1/2.7 to 2.7); a job takes
about a minute (log-normal), of which the policy has an estimate with an error of 20 %. A try fails with probability
0.05 at a moment drawn evenly from its length, one device in 100 dies in the middle, and one of 25 nodes dies with its
20 devices. Jobs may run on one given device (artefacts x devices), on any of the ten of a kind, or on any at all.

The lower bound knows everything and wastes nothing: no try fails, every speed is known, and so is the moment in which a
device dies; work is divided without remainder among the devices that may do it. Makespan: when the last job that could
be done has ended. Jobs that were given up (their only device died, or three tries failed) are part of neither.
"""

from __future__ import annotations

import argparse
import heapq
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import claims
import numpy as np

from edgesmith import intervals
from edgesmith.devices.dispatch import Dispatch, FleetJob

JOBS, DEVICES, NODES, KINDS = 10_000, 500, 25, 50
SEEDS, QUICK_SEEDS = 8, 1
SPEED_SPREAD, LENGTH_SPREAD, ESTIMATE_SPREAD, MEAN_S = 0.5, 0.5, 0.2, 60.0
FAILS, DIES, NODE_DIES_AT = 0.05, 0.01, (0.2, 0.8)
PLACES = ("one given device", "ten of a kind", "any device")
Row = dict[str, Any]


@dataclass(frozen=True)
class World:
    """What is drawn. seconds: of each job on a device of speed 1. dies_at: of each device, infinite for most."""

    jobs: tuple[FleetJob, ...]
    names: tuple[str, ...]
    seconds: dict[str, float]
    speed: dict[str, float]
    dies_at: dict[str, float]
    rng: np.random.Generator


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="one seed: no claims")
    options = parser.parse_args()
    rows = []
    for place in PLACES:
        for seed in range(QUICK_SEEDS if options.quick else SEEDS):
            rows.append({"place": place, "seed": seed, **simulate(drawn(place, seed))})
            print(line(rows[-1]), flush=True)
    found = [] if options.quick else claims_of(rows)
    print("\n".join(claims.table(found)))
    if options.json:
        claims.write_json(options.json, "fleet_sim", rows, found, ("numpy",))


def drawn(place: str, seed: int) -> World:
    """A fleet and its jobs; every 20th device in order hangs on the same node."""
    rng = np.random.default_rng(seed)
    names = tuple(f"device-{number}" for number in range(DEVICES))
    able = {"one given device": _given, "ten of a kind": _kind, "any device": lambda number, all_: all_}[place]
    lengths = MEAN_S * rng.lognormal(0, LENGTH_SPREAD, JOBS)
    guesses = lengths * rng.lognormal(0, ESTIMATE_SPREAD, JOBS)
    jobs = tuple(FleetJob(f"job-{n}", able(n, names), float(guess)) for n, guess in enumerate(guesses))
    span = JOBS / DEVICES * MEAN_S
    dies = {name: float(rng.uniform(0, span)) for name in names if rng.random() < DIES}
    node, when = int(rng.integers(NODES)), float(rng.uniform(*NODE_DIES_AT)) * span
    dies |= {name: min(dies.get(name, np.inf), when) for name in names[node * DEVICES // NODES :][: DEVICES // NODES]}
    speed = {name: float(value) for name, value in zip(names, rng.lognormal(0, SPEED_SPREAD, DEVICES))}
    seconds = {job.key: float(length) for job, length in zip(jobs, lengths)}
    return World(jobs, names, seconds, speed, {name: dies.get(name, np.inf) for name in names}, rng)


def _given(number: int, names: tuple[str, ...]) -> tuple[str, ...]:
    return (names[number % DEVICES],)


def _kind(number: int, names: tuple[str, ...]) -> tuple[str, ...]:
    return names[number % KINDS :: KINDS]


def simulate(world: World) -> Row:
    """Let the policy run to its end, event by event."""
    plan, events, last = Dispatch(world.jobs, world.names), [], 0.0
    failures, order = 0, 0
    for name, when in world.dies_at.items():
        if np.isfinite(when):
            heapq.heappush(events, (when, order := order + 1, "dies", name))
    now = 0.0
    while not plan.finished:
        for job, name in plan.starts(now):
            length = world.seconds[job.key] / world.speed[name]
            fails = bool(world.rng.random() < FAILS)
            end = now + length * (float(world.rng.random()) if fails else 1.0)
            what = "fails" if fails else "ends"
            if end > world.dies_at[name]:
                end, what = world.dies_at[name], "fails"
            heapq.heappush(events, (end, order := order + 1, what, name))
        rested = plan.wakes_at(now)
        if rested is not None and (not events or rested < events[0][0]):
            now = rested
            continue
        now, _, what, name = heapq.heappop(events)
        if what == "ends":
            plan.succeeded(name, now)
            last = now
        elif what == "fails":
            failures += 1
            plan.failed(name, "the connection broke", now)
        elif what == "dies":
            plan.lost(name, "the device died", now)
    bound = lower_bound(world, plan.done)
    counts = {"done": len(plan.done), "given_up": len(plan.given_up), "failures": failures}
    return {"makespan_s": last, "bound_s": bound, "ratio": last / bound, **counts}


def lower_bound(world: World, done: set[str]) -> float:
    """No schedule ends the jobs that were done sooner, even where no try fails."""
    work, longest = defaultdict(float), 0.0
    for job in world.jobs:
        if job.key in done:
            work[job.devices] += world.seconds[job.key]
            longest = max(longest, world.seconds[job.key] / max(world.speed[name] for name in job.devices))
    return max(longest, *(shared(world, able, total) for able, total in work.items()))


def shared(world: World, able: Sequence[str], work: float) -> float:
    """When devices that work without a pause until each dies have done so much together."""
    now, alive = 0.0, sum(world.speed[name] for name in able)
    for name in sorted(able, key=world.dies_at.__getitem__):
        if work <= alive * (world.dies_at[name] - now) * (1 + 1e-9):  # their sum is rounded
            break
        work -= alive * (world.dies_at[name] - now)
        now, alive = world.dies_at[name], alive - world.speed[name]
    return now + work / alive


def claims_of(rows: Sequence[Row]) -> list[claims.Claim]:
    """The mean of makespan over lower bound for each kind of place, over seeds."""
    found = []
    for place in PLACES:
        ratios = np.array([row["ratio"] for row in rows if row["place"] == place])
        name = f"makespan over the lower bound, jobs for {place}"
        found.append(claims.make_claim("fleet_sim", name, intervals.mean(ratios), len(ratios)))
    return found


def line(row: Row) -> str:
    times = f"makespan {row['makespan_s']:7.0f} s, bound {row['bound_s']:7.0f} s, ratio {row['ratio']:.3f}"
    return f"{row['place']:18} seed {row['seed']:2}  {times}; {row['failures']} failures, {row['given_up']} given up"


if __name__ == "__main__":
    main()
