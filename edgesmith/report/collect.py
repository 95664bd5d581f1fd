"""From the records of a run to one JSON-able report; every number keeps its interval, every gap its reason."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgesmith import intervals
from edgesmith.artifact import Exported
from edgesmith.records import SCHEMA, to_json
from edgesmith.report import layers, training
from edgesmith.report.wording import STATE_WORD
from edgesmith.results import Accuracy, Agreement, BenchRecord, Interval, Measurement, Placement, State, Verdict
from edgesmith.targets import TARGETS

OVERHEAD_MS = 0.2
PERCENTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
CAUSES = ("input", "order")
WORST_FIRST: tuple[State, ...] = ("fail", "inconclusive", "not_measured", "pass")
Cell = dict[str, Any]


def collect(
    *,
    title: str,
    state: State = "not_measured",
    required: Sequence[str] = (),
    reference: str = "",
    bench: BenchRecord | None = None,
    accuracies: Sequence[Accuracy] = (),
    agreements: Sequence[Agreement] = (),
    verdicts: Sequence[Verdict] = (),
    exported: Mapping[str, Exported] | None = None,
    failures: Mapping[str, str] | None = None,
    histories: Mapping[str, Sequence[Any]] | None = None,
    skipped: Sequence[str] = (),
    search: Mapping[str, Any] | None = None,
    corrections: Sequence[Any] = (),
    drops: Sequence[Any] = (),
    provenance: Mapping[str, Any] | None = None,
    headline: str = "top1",
    placements: Mapping[str, Placement] | None = None,
) -> dict[str, Any]:
    """Everything a page or a table shows, as JSON types.

    state: of the whole run (verify.gate.overall). failures: target -> why it did not come out. histories: step ->
    epochs (records or mappings). headline: the metric of the main column. search: what report.search.collected made.
    corrections: what the corrections of each int8 plan are worth (records or mappings). drops: how each plan was found
    that keeps a drop, and what became of the layers that were in float for it (records or mappings).
    placements: target -> where its work is done.
    provenance: command, recipe (its text), versions, digests, date.
    """
    measured = {m.target: m for m in bench.measurements} if bench else {}
    reference = reference or (bench.reference if bench else "")
    best = _best_float(measured)
    run = _Run(
        reference, required, accuracies, agreements, verdicts, measured, best, exported or {}, failures or {}, headline
    )
    rows = [_row(name, run) for name in run.targets()]
    report = {
        "schema": SCHEMA,
        "title": title,
        "verdict": _headline(state, verdicts, required),
        "device": bench.device if bench else None,
        "sentinel_drift": bench.sentinel_drift if bench else None,
        "reference": reference,
        "best_float": best.target if best else "",
        "overhead_ms": OVERHEAD_MS,
        "rows": rows,
        "verdicts": verdicts,
        "accuracies": accuracies,
        "agreements": agreements,
        "latency": {name: m.latency.samples_ms for name, m in measured.items() if m.latency},
        "layers": {name: layers.rows(m) for name, m in measured.items() if m.layers},
        "energy": {name: m.energy for name, m in measured.items() if m.energy},
        "placement": placements or {},
        "training": {name: training.curves(epochs) for name, epochs in (histories or {}).items()},
        "search": search,
        "corrections": list(corrections),
        "drops": list(drops),
        "skipped": list(skipped),
        "not_measured": _gaps(rows, accuracies, verdicts, measured.values()),
        "provenance": provenance or {},
    }
    return to_json(report)


@dataclass(frozen=True)
class _Run:
    """All there is, target by target."""

    reference: str
    required: Sequence[str]
    accuracies: Sequence[Accuracy]
    agreements: Sequence[Agreement]
    verdicts: Sequence[Verdict]
    measured: Mapping[str, Measurement]
    best_float: Measurement | None
    exported: Mapping[str, Exported]
    failures: Mapping[str, str]
    headline: str

    def targets(self) -> tuple[str, ...]:
        """The reference, then the required ones, then every other that left a trace."""
        first = [self.reference] if self.reference else []
        scored = [a.target for a in self.accuracies] + [a.target for a in self.agreements]
        return tuple(dict.fromkeys([*first, *self.required, *self.exported, *self.measured, *self.failures, *scored]))


def _row(name: str, run: _Run) -> Cell:
    own = [v for v in run.verdicts if v.target == name]
    timed, made = run.measured.get(name), run.exported.get(name)
    score, drop = _score(name, run)
    row: Cell = {
        "target": name,
        "required": name in run.required,
        "state": "reference" if name == run.reference else _worst(own),
        "reason": _reason(own, timed, run.failures.get(name, "")),
        "accuracy": score,
        "drop": drop,
        "precision": (timed.precision if timed else "") or (made.precision if made else ""),
        "engine": " ".join(filter(None, (timed.engine, timed.version))) if timed else "",
        "size_bytes": (timed.size_bytes if timed else None) or (made.size_bytes if made else None),
        "notes": [*(made.notes if made else ()), *(timed.notes if timed else ())],
    }
    return row | _timing(timed, run.measured.get(run.reference), run.best_float)


def _timing(timed: Measurement | None, reference: Measurement | None, best: Measurement | None) -> Cell:
    blocks = timed.latency.blocks_ms if timed and timed.latency else ()
    cells: Cell = {name: _percentile(blocks, name, q, timed) for name, q in PERCENTILES.items()}
    p50 = cells["p50"].get("value")
    return cells | {
        "samples": sum(map(len, blocks)),
        "threads": timed.threads if timed else None,
        "batch": timed.batch if timed else None,
        "scenario": timed.scenario if timed else None,
        "rows_per_s": float(np.median(timed.rows_per_s)) if timed and timed.rows_per_s else None,
        "speedup": _ratio(reference, timed),
        "speedup_float": _ratio(best, timed),
        "overhead": p50 is not None and p50 < OVERHEAD_MS,
        "load_ms": timed.load_ms[0] if timed and timed.load_ms else None,
        "later_load_ms": min(timed.load_ms[1:], default=None) if timed else None,
        "first_ms": timed.first_ms if timed else None,
        "peak_bytes": timed.peak_bytes if timed else None,
    }


def _percentile(blocks: Sequence[Sequence[float]], name: str, q: float, timed: Measurement | None) -> Cell:
    if not any(blocks):
        return {"not_measured": (timed.reason if timed else "") or "it was not timed"}
    found = intervals.percentile_of_blocks(blocks, q)
    if found.high is None or found.low is None:
        needed = intervals.samples_for_upper_bound(max(q, 1 - q))
        taken = f"{sum(map(len, blocks))} samples in {len(blocks)} blocks"
        return {"not_measured": f"{taken} bound no {name}; it takes {needed} that are independent"}
    return _cell(found)


def _ratio(slower: Measurement | None, timed: Measurement | None) -> Cell:
    if timed is None or timed.latency is None or slower is None or slower.latency is None:
        return {"not_measured": "not both were timed"}
    if slower.target == timed.target:
        return {"same": True}
    first, second = slower.latency.blocks_ms, timed.latency.blocks_ms
    if len(first) != len(second):
        return {"not_measured": "not measured in the same interleaved blocks"}
    return _cell(intervals.ratio_of_medians(first, second))


def _cell(interval: Interval) -> Cell:
    return {"value": interval.value, "low": interval.low, "high": interval.high}


def _score(name: str, run: _Run) -> tuple[Cell | None, Cell | None]:
    for row in run.accuracies:
        if row.target == name and row.metric == run.headline and row.n:
            return _cell(row.estimate) | {"metric": row.metric, "n": row.n}, _cell(row.drop) if row.drop else None
    for found in run.agreements:
        if found.target == name and found.n and not found.problem:
            best, metric = (found.top1, "top-1 agreement") if found.top1 else (found.cosine, "cosine")
            return _cell(best) | {"metric": metric, "n": found.n}, None
    return None, None


def _best_float(measured: Mapping[str, Measurement]) -> Measurement | None:
    def is_float(m: Measurement) -> bool:
        row = TARGETS.get(m.target)
        precision = row.precision if row else m.precision
        return not (row and row.weights) and precision.lower().startswith(("fp", "bf", "float", "f32", "f16"))

    timed = [m for m in measured.values() if m.latency and m.latency.samples_ms and is_float(m)]
    return min(timed, key=lambda m: float(np.median(m.latency.samples_ms)), default=None)  # type: ignore[union-attr]


def _worst(own: Sequence[Verdict]) -> State:
    states = {v.state for v in own}
    return next((state for state in WORST_FIRST if state in states), "not_measured")


def _reason(own: Sequence[Verdict], timed: Measurement | None, failure: str) -> str:
    worst = _worst(own)
    if worst == "pass" and not failure:
        return ""
    decisive = [v for v in own if v.state == worst]
    broken = failure or next((v.found for v in decisive if v.check == "runs"), "")
    causes = [v.found for v in decisive if v.check in CAUSES]  # a cause says more than the question
    told = [broken, *causes] if broken else [v.found if v.check in CAUSES else v.asked for v in decisive]
    return "; ".join(told) or (timed.reason if timed else "")


def _headline(state: State, verdicts: Sequence[Verdict], required: Sequence[str]) -> Cell:
    decisive = [v for v in verdicts if v.target in required and v.state == state]
    count = f"{len({v.target for v in decisive})} of {len(required)} required targets"
    limited = any(v.check != "runs" for v in decisive)
    line = {
        "pass": f"{len(required)} of {len(required)} required targets "
        + ("hold every limit." if limited else "run and give finite outputs; no limit was set."),
        "fail": f"{count} break a limit or did not come out.",
        "inconclusive": f"The samples do not decide for {count}.",
        "not_measured": f"There is no evidence for {count}.",
    }[state]
    if not decisive:
        line = "No required target was judged." if required else "Nothing was required of any target."
    shown = [f"{v.target}: asked for {v.asked}, found {v.found}" for v in decisive] if state != "pass" else []
    more = max((v.more for v in decisive if v.more), default=None)
    if more and state == "inconclusive":
        line += f" About {more:,} samples more would."
    return {"state": state, "word": STATE_WORD[state], "line": line, "details": shown}


def _gaps(
    rows: Iterable[Cell], accuracies: Sequence[Accuracy], verdicts: Sequence[Verdict], timed: Iterable[Measurement]
) -> list[Cell]:
    found = [
        (row["target"], name, row[name]["not_measured"])
        for row in rows
        for name in (*PERCENTILES, "speedup", "speedup_float")
        if "not_measured" in row[name]
    ]
    found += [(a.target, a.metric, a.untold) for a in accuracies if not a.n]
    found += [(v.target, v.check, v.found) for v in verdicts if v.state == "not_measured"]
    found += [(m.target, f"energy {e.source}".strip(), e.reason) for m in timed for e in m.energy if e.joules is None]
    return [{"target": t, "what": what, "reason": reason} for t, what, reason in dict.fromkeys(found)]
