"""A latency table measured from whole networks: every operation in the surroundings it will have, never alone.

A designed set of networks of the space is exported for the target, timed in interleaved jobs, and the cost of each
choice is read from them by least squares. Kernels fuse with their neighbours, so that an operation timed alone says
little about what it adds to a network.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from torch import nn

from edgesmith.artifact import Exported, content_key
from edgesmith.bench.job import Schedule
from edgesmith.bench.run import measure
from edgesmith.compress.asap.latency import LatencyTable
from edgesmith.devices.device import Device
from edgesmith.errors import EdgesmithError, EngineFailed, UsageError
from edgesmith.models.genotype import Edge, Genotype
from edgesmith.pipeline.costs import Costs, fit_costs
from edgesmith.pipeline.produce import BUNDLE, Say, build_targets, calibrate, capture_source, load_bundle, plan_targets
from edgesmith.pipeline.sources import Inputs, Source
from edgesmith.records import to_json
from edgesmith.results import BenchRecord, DeviceInfo, Interval
from edgesmith.targets import target
from edgesmith.tensors import Arrays, TensorSpec, random_feed

JOB_SIZE = 10  # networks timed in one job: each has a process of its own
FEEDS = 32
REFERENCE = "reference"
FACTS = ("name", "cpu", "cores", "instruction_set", "accelerator")


class Measurable(Protocol):
    """A space whose networks' latency may be taken as a sum over its edges, each of which is in every network.

    shape: edges of one shape share what was measured. macs: what an operation costs before it was measured.
    """

    @property
    def name(self) -> str: ...

    @property
    def options(self) -> Mapping[str, Any]: ...

    @property
    def edges(self) -> tuple[Edge, ...]: ...

    def network(self, genotype: Genotype) -> nn.Module: ...

    def of(self, choices: Mapping[str, str]) -> Genotype: ...

    def shape(self, edge: str) -> str: ...

    def macs(self, edge: str, operation: str) -> int: ...


@dataclass(frozen=True)
class Measuring:
    """How a table is made: for which target, from how many networks, timed in how many blocks of how many runs."""

    target: str
    threads: int = 1
    networks: int = 32
    blocks: int = 12
    block_size: int = 12
    seed: int = 0


@dataclass(frozen=True)
class Bench:
    """Where and how networks are timed. `image` is the input of every network, batch 1."""

    device: Device
    image: TensorSpec
    measuring: Measuring
    folder: Path
    say: Say


def measured_table(space: Measurable, bench: Bench) -> tuple[LatencyTable, dict[str, Any]]:
    """Measure a table for a space, and say how well it fits the networks that it was made from.

    What was exported before an interruption is not exported again. Raises: UsageError, EngineFailed.
    """
    if bench.measuring.networks < 4:
        raise UsageError("measure a latency table", f"{bench.measuring.networks} networks", "take 4 or more")
    genotypes = design(space, bench.measuring.networks, bench.measuring.seed)
    times, device = time_networks(space, genotypes, bench)
    table, costs = table_from(space, genotypes, times, bench.measuring, device)
    errors = np.array([table.predict(genotype) for genotype in genotypes]) / times - 1
    fit = {"left_out_error": costs.left_out_error, "fitted_error": float(np.sqrt(np.mean(errors**2)))}
    return table, {"networks": len(genotypes), "times_ms": times.tolist(), **fit, "shrinkage": costs.shrinkage}


def design(space: Measurable, count: int, seed: int) -> list[Genotype]:
    """A balanced set of networks: on every edge each operation stands equally often, in seeded order."""
    draw = random.Random(seed)
    columns = {}
    for edge in space.edges:
        column = [edge.operations[index % len(edge.operations)] for index in range(count)]
        draw.shuffle(column)
        columns[edge.name] = column
    return [space.of({name: column[index] for name, column in columns.items()}) for index in range(count)]


def table_from(
    space: Measurable, genotypes: Sequence[Genotype], times: np.ndarray, measuring: Measuring, device: DeviceInfo
) -> tuple[LatencyTable, Costs]:
    """The table that explains these networks' times (ms) best."""
    keys = list(dict.fromkeys((space.shape(e.name), op) for e in space.edges for op in e.operations))
    place = {key: index for index, key in enumerate(keys)}
    counts = np.zeros((len(genotypes), len(keys)))
    for row, genotype in enumerate(genotypes):
        for edge, operation in genotype.choices.items():
            counts[row, place[space.shape(edge), operation]] += 1
    first = {(space.shape(e.name), op): e.name for e in reversed(space.edges) for op in e.operations}
    macs = np.array([space.macs(first[key], key[1]) for key in keys], float)
    costs = fit_costs(counts, macs, times)
    entries = {
        e.name: {op: float(costs.each[place[space.shape(e.name), op]]) for op in e.operations} for e in space.edges
    }
    facts = facts_of(device)
    return LatencyTable(space_key(space), measuring.target, measuring.threads, costs.fixed, entries, facts), costs


def time_networks(space: Measurable, genotypes: Sequence[Genotype], bench: Bench) -> tuple[np.ndarray, DeviceInfo]:
    """p50 of each network in ms, by the ratio to the first one in interleaved blocks. Raises: EngineFailed."""
    made = [_exported(space, genotype, bench) for genotype in genotypes]
    ratios, references, device = [1.0], [], None
    others = list(enumerate(made))[1:] or [(1, made[0])]
    for start in range(0, len(others), JOB_SIZE):
        chunk = {f"network-{index}": model for index, model in others[start : start + JOB_SIZE]}
        record = timed({REFERENCE: made[0], **chunk}, bench, bench.folder / "job")
        blocks = {m.target: _block_medians(m.target, record) for m in record.measurements}
        references.append(np.median(blocks[REFERENCE]))
        ratios += [float(np.median(blocks[name] / blocks[REFERENCE])) for name in chunk]
        device = record.device
        bench.say(f"latency: {min(start + JOB_SIZE, len(others)) + 1} of {len(made)} networks timed")
    if device is None:
        raise UsageError("time networks", "none", "give one or more")
    return np.array(ratios[: len(made)]) * float(np.median(references)), device


def timed(exported: Mapping[str, Exported], bench: Bench, folder: Path) -> BenchRecord:
    """Time artefacts against one another in one interleaved job; the first is the reference."""
    how = bench.measuring
    schedule = Schedule(how.blocks, how.block_size, warmup=20)
    feed = images(bench.image)
    return measure(bench.device, folder, exported, feed, schedule, next(iter(exported)), threads=how.threads)


def images(spec: TensorSpec) -> Arrays:
    """Seeded synthetic inputs: latency of these networks does not depend on what they show."""
    return random_feed([TensorSpec(spec.name, (FEEDS, *spec.shape[1:]), spec.dtype)], seed=1)


def _block_medians(name: str, record: BenchRecord) -> np.ndarray:
    row = next(m for m in record.measurements if m.target == name)
    if row.latency is None:
        raise EngineFailed(f"time {name}", row.reason or "it was not timed", "choose another target or device")
    return np.array([np.median(block) for block in row.latency.blocks_ms])


def _exported(space: Measurable, genotype: Genotype, bench: Bench) -> Exported:
    """The target's artefact of a network with seeded weights, calibrated on synthetic inputs."""
    name = bench.measuring.target
    folder = bench.folder / "networks" / content_key(to_json(genotype), name)[:12]
    if not _whole(folder):
        shutil.rmtree(folder, ignore_errors=True)
        source = Source(space.name, space.network(genotype).eval(), (bench.image,))
        program = capture_source(source)
        plans = {}
        if target(name).family:
            inputs = Inputs(images(bench.image), images=False, digest="random")
            plans = plan_targets(program, calibrate(program, inputs, None, batch=FEEDS), (name,))
        build_targets(program, source, (name,), plans, folder, lambda text: None)
        bench.say(f"latency: {len(list(folder.parent.iterdir()))} networks exported")
    bundle = load_bundle(folder)
    if name in bundle.absent:
        raise EngineFailed(f"measure latency on {name}", bundle.absent[name].reason, "choose a target that builds here")
    return bundle.exported[name]


def _whole(folder: Path) -> bool:
    if not (folder / BUNDLE).exists():
        return False
    try:
        load_bundle(folder)
    except EdgesmithError:
        return False
    return True


def measured_p50(space: Measurable, genotype: Genotype, bench: Bench) -> Interval:
    """p50 of one network in ms, with its interval; it is timed beside the same file again as reference."""
    from edgesmith.intervals import percentile_of_blocks

    model = _exported(space, genotype, bench)
    record = timed({REFERENCE: model, "found": model}, bench, bench.folder / "job")
    row = next(m for m in record.measurements if m.target == "found")
    if row.latency is None:
        raise EngineFailed("time the network found", row.reason, "choose another target or device")
    return percentile_of_blocks(row.latency.blocks_ms, 0.5)


def space_key(space: Measurable) -> str:
    """A space's name and a digest of its options, as a table names it."""
    return f"{space.name}-{content_key(to_json(dict(space.options)))[:12]}"


def facts_of(device: DeviceInfo) -> dict[str, str]:
    """What a machine is, without what changes from minute to minute."""
    facts = to_json(device)
    return {name: str(facts[name]) for name in FACTS}


def check_table(table: LatencyTable, space: Measurable, measuring: Measuring, device: DeviceInfo) -> None:
    """Refuse a table of another space, target, device or thread count. Raises: UsageError naming both."""
    asked = {"space": space_key(space), "target": measuring.target, "threads": str(measuring.threads)}
    asked |= facts_of(device)
    found = {"space": table.space, "target": table.target, "threads": str(table.threads), **table.device}
    different = [name for name, value in asked.items() if found.get(name) != value]
    if different:
        wanted = ", ".join(f"{name} {asked[name]!r}" for name in different)
        has = ", ".join(f"{name} {found.get(name)!r}" for name in different)
        todo = "measure a table for this one: leave latency.table out"
        raise UsageError(f"a latency table for {wanted}", f"it is of {has}", todo)
    for edge in space.edges:
        missing = [op for op in edge.operations if op not in table.entries.get(edge.name, {})]
        if missing:
            raise UsageError(f"a latency table with {edge.name}", f"it lacks {missing}", "measure it again")


def cheapest(table: LatencyTable, space: Measurable) -> Genotype:
    """The network of the smallest predicted latency."""
    return space.of({e.name: min(e.operations, key=lambda op: table.entries[e.name][op]) for e in space.edges})


def check_budget(table: LatencyTable, space: Measurable, budget_ms: float) -> None:
    """Refuse a budget that no network of the space meets. Raises: UsageError naming the cheapest."""
    least = cheapest(table, space)
    if (least_ms := table.predict(least)) > budget_ms:
        words = ", ".join(f"{edge} {op}" for edge, op in least.choices.items())
        found = f"the cheapest network of the space takes {least_ms:.4g} ms: {words}"
        todo = "raise the budget, or give the space cheaper operations or fewer channels"
        raise UsageError(f"search within {budget_ms:g} ms on {table.target}", found, todo)
