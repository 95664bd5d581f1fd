"""A recipe's search over seeds and budgets: each is a trial with a folder of its own, all share one latency table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from edgesmith.errors import UsageError
from edgesmith.models.genotype import load_genotype
from edgesmith.pipeline import searching
from edgesmith.pipeline.latency_table import measured_p50
from edgesmith.pipeline.recipe import Recipe, Search
from edgesmith.pipeline.run import Say, execute
from edgesmith.pipeline.sources import Trust
from edgesmith.pipeline.steps import Run, search_recipe
from edgesmith.pipeline.trials import Engine, trials


@dataclass(frozen=True)
class Member:
    """One search of many."""

    seed: int | None
    budget_ms: float | None
    recipe: Recipe
    out: Path
    trust: Trust

    @property
    def name(self) -> str:
        """Of its folder: "seed-0-budget-0.12"."""
        words = (("seed", self.seed), ("budget", self.budget_ms))
        return "-".join(f"{word}-{value:g}" for word, value in words if value is not None)


def many_searches(
    recipe: Recipe,
    seeds: Sequence[int],
    budgets_ms: Sequence[float],
    out: Path,
    trust: Trust,
    say: Say,
    engine: Engine = "local",
    workers: int = 1,
    address: str | None = None,
) -> list[dict[str, Any]]:
    """Run the search for every pair of a seed and a budget (an empty list: what the recipe says); a row each.

    The latency table is measured once, before. Trials may run beside one another (trials.py); so the p50 that counts is
    measured when all have ended, one network after the other.
    Raises: UsageError, and what measuring the table raises; a search that fails is a row with its error.
    """
    search = recipe.search
    if search is None:
        raise UsageError(f"search {recipe.name}", "the recipe has no search section", "add one under `search:`")
    if budgets_ms and search.latency is None:
        found = "the recipe's search has no latency section"
        raise UsageError(f"search {recipe.name} for budgets", found, "add search.latency with a target")
    pairs: Iterable[tuple[int | None, float | None]] = product(seeds or (None,), budgets_ms or (None,))
    search = _with_table(Run(recipe, out, trust, say), search)
    members = [_member(recipe, search, seed, budget, out, trust) for seed, budget in pairs]
    ended = trials(_search, members, engine, workers, address)
    return [_row(trial.config, trial.result, trial.error, say) for trial in ended]


def _with_table(run: Run, search: Search) -> Search:
    """The search with the file of its latency table, measured here where the recipe names none."""
    if search.latency is None or search.latency.table is not None:
        return search
    execute([step for step in run.steps if step.name == "latency-table"], run.out, run.say)
    file = run.folder("latency-table") / searching.TABLE
    return replace(search, latency=replace(search.latency, table=str(file.resolve())))


def _member(recipe: Recipe, search: Search, seed: int | None, budget: float | None, out: Path, trust: Trust) -> Member:
    if seed is not None:
        search = replace(search, fit={**search.fit, "seed": seed}, space={**search.space, "seed": seed})
    if budget is not None and search.latency is not None:
        search = replace(search, latency=replace(search.latency, budget_ms=budget))
    member = Member(seed, budget, replace(recipe, search=search), out, trust)
    return replace(member, out=(out / member.name).resolve())


def _search(member: Member) -> Mapping[str, Any] | None:
    return search_recipe(member.recipe, member.out, member.trust, lambda text: None)


def _row(member: Member, found: Mapping[str, Any] | None, error: str | None, say: Say) -> dict[str, Any]:
    row = {"seed": member.seed, "budget_ms": member.budget_ms, "folder": str(member.out), "error": error}
    if found is None:
        return {**row, "genotype": None, "latency": None, "state": "failed"}
    if found["latency"] is None:
        return {**row, "genotype": found["genotype"], "latency": None, "state": found["state"]}
    latency = _timed_again(member, Path(found["genotype"]), say)
    return {**row, "genotype": found["genotype"], "latency": latency, "state": latency["verdict"].state}


def _timed_again(member: Member, genotype: Path, say: Say) -> dict[str, Any]:
    run, search = Run(member.recipe, member.out, member.trust, say), member.recipe.search
    if search is None or search.latency is None:
        raise TypeError("a member without a latency goal")
    bench = run.networks(search.latency, member.out / "timed")
    measured = measured_p50(searching.measurable(searching.space_of(search)), load_genotype(genotype), bench)
    how, budget = bench.measuring, search.latency.budget_ms
    verdict = searching.budget_verdict(how.target, measured, how.blocks * how.block_size, budget)
    say(f"{member.name}: p50 {verdict.found} for {verdict.asked}: {verdict.state}")
    return {"measured_ms": measured, "verdict": verdict}
