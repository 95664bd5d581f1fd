"""The search of a recipe: from its words to a genotype on disk, within a latency budget that is measured."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgesmith import records
from edgesmith.artifact import content_key
from edgesmith.compress.asap.latency import LatencyTable
from edgesmith.compress.asap.space import Space
from edgesmith.compress.fit import FitConfig, fit
from edgesmith.compress.ranks import ranks
from edgesmith.compress.task import Parts
from edgesmith.data.split import Data
from edgesmith.errors import UsageError
from edgesmith.models.genotype import Genotype, load_genotype
from edgesmith.pipeline import options
from edgesmith.pipeline.latency_table import (
    Bench,
    Measuring,
    check_budget,
    check_table,
    measured_p50,
    measured_table,
)
from edgesmith.pipeline.recipe import FOUND, LatencyGoal, Search
from edgesmith.pipeline.run import Say
from edgesmith.report.sections.search import collected
from edgesmith.results import Interval, State, Verdict
from edgesmith.verify.gate import decide

GENOTYPE, TABLE, TRIES = "genotype.json", "table.json", "tries"
HISTORY, RECORD = "history.json", "search.json"
HARDER = 3.0  # factor of the latency weight from one try to the next


@dataclass(frozen=True)
class Goal:
    """A latency goal with its table, and where networks are timed."""

    words: LatencyGoal
    table: LatencyTable
    table_file: Path
    bench: Bench


def space_of(search: Search) -> Space:
    """The space a recipe's search names. Raises: UsageError."""
    space: Space = options.call("space", search.space)
    return space


def with_genotype(spec: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """A model's spec with the genotype's file in the place of the word `search`."""
    return {key: str(file) if (key, value) == ("genotype", FOUND) else value for key, value in spec.items()}


def measuring_of(goal: LatencyGoal, threads: int) -> Measuring:
    """How the table of a goal is measured."""
    return Measuring(goal.target, threads, goal.networks, goal.blocks, goal.block_size)


def measurable(space: Any) -> Any:
    """A space of which a table can be measured. Raises: UsageError."""
    if not all(hasattr(space, name) for name in ("shape", "macs", "of")):
        found = f"the space {space.name!r} has edges that are not in every network"
        raise UsageError("measure a latency table", found, "use the space chain, or leave search.latency out")
    return space


def measure_table(search: Search, bench: Bench, folder: Path) -> Mapping[str, Any]:
    """Measure the table of a search into its folder: table.json."""
    table, fitted = measured_table(measurable(space_of(search)), bench)
    records.save(folder / TABLE, table)
    return {"table": content_key(table), **fitted}


def goal_of(search: Search, words: LatencyGoal, table_file: Path, bench: Bench) -> Goal:
    """Read a table and hold it against space, target, device and budget, before anything is trained.

    Raises: UsageError, MissingResource, DamagedArtifact.
    """
    space, table = measurable(space_of(search)), records.load(LatencyTable, table_file)
    check_table(table, space, bench.measuring, bench.device.info())
    check_budget(table, space, words.budget_ms)
    return Goal(words, table, table_file, bench)


def run_search(search: Search, data: Data, goal: Goal | None, folder: Path, say: Say) -> Mapping[str, Any]:
    """Search into a folder: genotype.json, history.json, search.json; an interrupted one goes on where it was.

    Several processes (torchrun) share each batch; the first alone writes, and times the network that was found.
    Raises: UsageError, TrainingFailed.
    """
    space, weight = space_of(search), goal.words.weight if goal else 0.0
    tries: list[dict[str, Any]] = []
    while True:
        place = folder / TRIES / str(len(tries))
        genotype = _one_search(search, data, goal, weight, place, say)
        predicted = goal.table.predict(genotype) if goal else None
        tries.append({"weight": weight, "predicted_ms": predicted})
        if goal is None or predicted is None or predicted <= goal.words.budget_ms or len(tries) == goal.words.tries:
            break
        weight *= HARDER
        say(f"search: {predicted:.4g} ms is above the budget; again with latency weight {weight:g}")
    if ranks().rank:
        return {}
    for name in (GENOTYPE, HISTORY):
        shutil.copy(place / name, folder / name)
    genotype = load_genotype(folder / GENOTYPE)
    latency = _latency(space, genotype, goal) if goal else None
    record = {"space": space.name, "tries": tries, "layers": _layers(space, genotype, goal), "latency": latency}
    records.save(folder / RECORD, record)
    if latency:
        say(f"search: p50 {latency['verdict'].found} for {latency['verdict'].asked}: {latency['verdict'].state}")
    return {"tries": len(tries), "state": latency["verdict"].state if latency else None}


def _one_search(search: Search, data: Data, goal: Goal | None, weight: float, place: Path, say: Say) -> Genotype:
    if ranks().tell(int((place / GENOTYPE).exists())):
        return load_genotype(place / GENOTYPE)
    if data.train is None:
        raise UsageError(
            "search", f"data {data.name!r} has no training split", "give labelled data, and a holdout below 1"
        )
    method = dict(search.method)
    if goal:
        method |= {"latency_table": str(goal.table_file), "latency_weight": weight}
        method |= {"latency_budget_ms": goal.words.budget_ms}
    task = options.call("method", method, parts=Parts(space_of(search).supernet(), None, len(data.classes)))
    config = options.invoke(FitConfig, search.fit)

    def report(epoch: Any) -> None:
        last = task.history[-1]
        left = f"T {last.temperature:.3f}, {last.operations} operations alive"
        say(f"search: epoch {epoch.epoch}/{config.epochs}, loss {epoch.loss:.3f}, {left}, {epoch.seconds:.1f} s")

    place.mkdir(parents=True, exist_ok=True)
    result = fit(task, data.train, data.preprocessing, config, place, report)
    genotype: Genotype = task.genotype()
    if ranks().rank:
        return genotype
    epochs = {"epochs": list(result.history), "search": list(task.history), "forced": bool(task.forced)}
    records.save(place / HISTORY, epochs)
    records.save(place / GENOTYPE, genotype)
    (place / "last.ckpt").unlink(missing_ok=True)
    return genotype


def _latency(space: Any, genotype: Genotype, goal: Goal) -> dict[str, Any]:
    measured = measured_p50(space, genotype, goal.bench)
    how = goal.bench.measuring
    return {
        "target": how.target,
        "threads": how.threads,
        "device": dict(goal.table.device),
        "table": content_key(goal.table),
        "budget_ms": goal.words.budget_ms,
        "predicted_ms": goal.table.predict(genotype),
        "measured_ms": measured,
        "verdict": budget_verdict(how.target, measured, how.blocks * how.block_size, goal.words.budget_ms),
    }


def budget_verdict(target: str, measured: Interval, samples: int, budget_ms: float) -> Verdict:
    """Whether a measured p50 holds the budget, by the end of its interval."""
    state: State
    state, more = decide(measured, "<=", budget_ms, samples)
    ends = " to ".join("unbounded" if end is None else f"{end:.4g}" for end in (measured.low, measured.high))
    asked, found = f"the network found: p50 <= {budget_ms:g} ms", f"{measured.value:.4g} ms ({ends}), n = {samples}"
    return Verdict("search_budget", target, state, asked, found, more)


def _layers(space: Any, genotype: Genotype, goal: Goal | None) -> list[dict[str, Any]]:
    """The edges of the network in their order, with what each costs where that was measured."""
    rows = []
    for edge, operation in genotype.kept().items():
        row: dict[str, Any] = {"edge": edge, "operation": operation}
        if hasattr(space, "shape"):
            row["shape"] = space.shape(edge)
        if goal:
            row["cost_ms"] = goal.table.entries[edge][operation]
        rows.append(row)
    return rows


def shown(folder: Path) -> dict[str, Any]:
    """What the report shows of a finished search."""
    return collected(records.read(folder / RECORD), records.read(folder / HISTORY))


def budget_of(search: Search | None) -> tuple[str, float] | None:
    """The target and the p50 in ms that a search is to hold."""
    return (search.latency.target, search.latency.budget_ms) if search and search.latency else None


def found_row(folder: Path) -> dict[str, Any]:
    """A finished search in words and numbers."""
    record, genotype = records.read(folder / RECORD), load_genotype(folder / GENOTYPE)
    latency = record["latency"]
    return {
        "genotype": str(folder / GENOTYPE),
        "choices": genotype.kept(),
        "latency": latency,
        "state": latency["verdict"]["state"] if latency else "not_measured",
    }
