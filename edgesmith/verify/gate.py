"""From numbers with intervals to verdicts: a point on the right side of a limit is not yet a pass."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from edgesmith import intervals
from edgesmith.results import Accuracy, Agreement, BenchRecord, Interval, Measurement, Placement, State, Verdict
from edgesmith.verify import placement

STEADY = 0.10
ORDER = "order"


@dataclass(frozen=True)
class Limits:
    """What a target must hold; None asks nothing.

    accuracy_drop: of the protocol's headline metric (top1, k-fold accuracy, mAP), as a share (0.01 is one point);
    `drops` sets the same for other metrics by name. agreement (top-1) and cosine (mean): at least. p50_ms: at most.
    speedup: at least, over the reference of the measurement. placement: verify/placement.py's limits, by name.
    """

    accuracy_drop: float | None = None
    drops: Mapping[str, float] = field(default_factory=dict)
    agreement: float | None = None
    cosine: float | None = None
    p50_ms: float | None = None
    speedup: float | None = None
    placement: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        placement.limits_of(self.placement)


@dataclass(frozen=True)
class _Evidence:
    """What is known about one target."""

    target: str
    accuracies: tuple[Accuracy, ...]
    agreements: tuple[Agreement, ...]
    measurement: Measurement | None
    bench: BenchRecord | None
    failure: str
    absence: str
    headline: str
    placement: Placement | None = None
    questions: int = 1  # of the whole run that intervals answer


def gate(
    limits: Limits,
    accuracies: Sequence[Accuracy],
    agreements: Sequence[Agreement],
    bench: BenchRecord | None,
    required: Sequence[str],
    reference: str | None = None,
    failures: Mapping[str, str] | None = None,
    absences: Mapping[str, str] | None = None,
    headline: str = "top1",
    placements: Mapping[str, Placement] | None = None,
) -> tuple[Verdict, ...]:
    """A verdict for each target and question; required targets come first, the reference is not judged.

    failures: target -> why it did not come out (export or runtime error). absences: target -> why it could not be
    measured here. headline: the metric that accuracy_drop means. Every target is asked whether it runs and gives
    finite outputs ("runs"), also in a run without limits; one that does not is asked nothing more. placements: target
    -> where its work is done; one that fell back silently fails, also in a run without limits.

    Many questions are many chances of a false alarm: with K of them an interval breaks its limit only if it does so
    with 1 - 0.05 / K (Bonferroni). A run passes only if every question does, which needs no correction (Berger 1982).
    """
    failures, absences = failures or {}, absences or {}
    reference = reference or (bench.reference if bench else None)
    measured = {m.target: m for m in bench.measurements} if bench else {}
    seen = [
        *required,
        *failures,
        *absences,
        *(a.target for a in accuracies),
        *(a.target for a in agreements),
        *measured,
    ]
    everything: list[_Evidence] = []
    for target in dict.fromkeys(seen):
        if target == reference:
            continue
        evidence = _Evidence(
            target,
            tuple(a for a in accuracies if a.target == target),
            tuple(a for a in agreements if a.target == target),
            measured.get(target),
            bench,
            failures.get(target, ""),
            absences.get(target, ""),
            headline,
            (placements or {}).get(target),
        )
        everything.append(evidence)
    found = [verdict for evidence in everything for verdict in _judge(limits, evidence)]
    exact = ("runs", ORDER, placement.CHECK)  # nothing there was estimated from samples
    questions = sum(not v.check.startswith(exact) and v.state != "not_measured" for v in found)
    if questions > 1:
        shared = [replace(evidence, questions=questions) for evidence in everything]
        found = [verdict for evidence in shared for verdict in _judge(limits, evidence)]
    return tuple(found)


def overall(verdicts: Sequence[Verdict], required: Sequence[str]) -> tuple[State, int]:
    """The state of the whole run and its exit code: 0 all pass, 1 a fail, 5 undecided or without evidence.

    Only required targets count. A required target without a verdict was not measured; with nothing required there
    is nothing to pass, and nothing to fail either.
    """
    states: list[State] = []
    for target in required:
        own = [v.state for v in verdicts if v.target == target]
        states += own or ["not_measured"]
    if not states:
        return "not_measured", 0
    for state, code in (("fail", 1), ("inconclusive", 5), ("not_measured", 5)):
        if state in states:
            return state, code  # type: ignore[return-value]
    return "pass", 0


def decide(
    interval: Interval, op: Literal["<=", ">="], limit: float, n: int, questions: int = 1
) -> tuple[State, int | None]:
    """Pass when the bad end of the interval holds the limit, fail when its good end breaks it, else inconclusive.

    The good end is the one at 1 - 0.05 / questions. Also returns how many samples more would decide, taking the width
    to shrink with the square root of n.
    """
    if n == 0 or math.isnan(interval.value):
        return "not_measured", None
    sign = 1.0 if op == "<=" else -1.0
    wider = intervals.at_confidence(interval, 1 - (1 - interval.confidence) / questions)
    bad, good = (interval.high, wider.low) if op == "<=" else (interval.low, wider.high)
    if bad is not None and sign * bad <= sign * limit:
        return "pass", None
    if good is not None and sign * good > sign * limit:
        return "fail", None
    distance = abs(limit - interval.value)
    end = bad if sign * interval.value <= sign * limit else good
    if end is None or not math.isfinite(end) or distance == 0:
        return "inconclusive", None
    return "inconclusive", max(1, math.ceil(n * (abs(end - interval.value) / distance) ** 2) - n)


def _judge(limits: Limits, evidence: _Evidence) -> Iterator[Verdict]:
    runs = _runs(evidence)
    yield runs
    if runs.state != "pass":
        return  # one reason is enough: the other questions have the same answer
    yield from _orders(evidence)
    yield from placement.judge(evidence.target, evidence.placement, placement.limits_of(limits.placement))
    if limits.accuracy_drop is not None:
        yield _drop(evidence, "accuracy_drop", evidence.headline, limits.accuracy_drop)
    for metric, limit in limits.drops.items():
        yield _drop(evidence, f"drop of {metric}", metric, limit)
    if limits.agreement is not None:
        yield from _agreement(evidence, "agreement", limits.agreement, lambda a: a.top1)
    if limits.cosine is not None:
        yield from _cosine(evidence, limits.cosine)
    if limits.p50_ms is not None:
        yield _latency(evidence, "p50_ms", "<=", limits.p50_ms, _p50)
    if limits.speedup is not None:
        yield _latency(evidence, "speedup", ">=", limits.speedup, _speedup)


def _orders(evidence: _Evidence) -> Iterator[Verdict]:
    for a in evidence.agreements:
        if a.rearranged:
            yield Verdict(
                ORDER, evidence.target, "fail", "outputs in the original's order", f"{a.output}: {a.rearranged}"
            )


def _problem(evidence: _Evidence) -> str:
    """Why this target is broken whatever the limits are, or ""."""
    if evidence.failure:
        return evidence.failure
    if evidence.measurement and evidence.measurement.state == "failed":
        return evidence.measurement.reason or "it failed on the device"
    for agreement in evidence.agreements:
        if agreement.problem:
            return agreement.problem
    for accuracy in evidence.accuracies:
        bad = accuracy.extra.get("non_finite", 0)
        if bad:
            return f"{bad:.0f} rows of its outputs hold NaN or infinity"
    return ""


def _runs(evidence: _Evidence) -> Verdict:
    asked, problem = "it runs and gives finite outputs", _problem(evidence)
    if problem:
        return Verdict("runs", evidence.target, "fail", asked, problem)
    judged = max([*(a.n for a in evidence.accuracies), *(a.n for a in evidence.agreements)], default=0)
    timed = evidence.measurement if evidence.measurement and evidence.measurement.state == "measured" else None
    if judged or timed:
        found = f"outputs of {judged} samples" if judged else "it was timed"
        return Verdict("runs", evidence.target, "pass", asked, found)
    reason = evidence.absence or (evidence.measurement.reason if evidence.measurement else "")
    return Verdict("runs", evidence.target, "not_measured", asked, reason or "nothing was run")


def _drop(evidence: _Evidence, check: str, metric: str, limit: float) -> Verdict:
    asked = f"{check.replace('_', ' ')} <= {limit:g}"
    why = "no labelled samples that tell"
    for row in (row for row in evidence.accuracies if row.metric == metric):
        if row.drop is not None and row.n:
            state, more, found = _decided(row.drop, "<=", limit, row.n, evidence)
            return Verdict(check, evidence.target, state, asked, f"{row.metric} {found}", more)
        why = row.untold or why
    return Verdict(check, evidence.target, "not_measured", asked, why)


def _agreement(
    evidence: _Evidence, check: str, limit: float, pick: Callable[[Agreement], Interval | None]
) -> Iterator[Verdict]:
    asked = f"{check} >= {limit:g}"
    picked = [(a, interval) for a in evidence.agreements if (interval := pick(a)) is not None]
    for agreement, interval in picked:
        state, more, found = _decided(interval, ">=", limit, agreement.n, evidence)
        yield Verdict(check, evidence.target, state, asked, f"{agreement.output}: {found}", more)
    if not picked:
        yield Verdict(check, evidence.target, "not_measured", asked, "no output it could be told from")


def _cosine(evidence: _Evidence, limit: float) -> Iterator[Verdict]:
    rows = [a for a in evidence.accuracies if a.metric == "cosine"]
    if evidence.agreements or not rows:
        yield from _agreement(evidence, "cosine", limit, lambda a: a.cosine)
        return
    for row in rows:
        state, more, found = _decided(row.estimate, ">=", limit, row.n, evidence)
        yield Verdict("cosine", evidence.target, state, f"cosine >= {limit:g}", found, more)


def _latency(
    evidence: _Evidence,
    check: str,
    op: Literal["<=", ">="],
    limit: float,
    read: Callable[[Measurement, BenchRecord], Interval | None],
) -> Verdict:
    asked = f"{check} {op} {limit:g}"
    timed, bench = evidence.measurement, evidence.bench
    if timed is None or bench is None or timed.latency is None:
        reason = timed.reason if timed else ""
        return Verdict(check, evidence.target, "not_measured", asked, reason or "it was not timed")
    interval, n = read(timed, bench), len(timed.latency.samples_ms)
    if interval is None or n == 0:
        return Verdict(check, evidence.target, "not_measured", asked, "the reference was not timed, or no sample")
    state, more, found = _decided(interval, op, limit, n, evidence)
    if not bench.sentinel_drift <= STEADY:
        drift = f"{100 * bench.sentinel_drift:.0f} %" if math.isfinite(bench.sentinel_drift) else "an unknown amount"
        found = f"{found}; but the machine's own speed changed by {drift}"
        return Verdict(check, evidence.target, "inconclusive", asked, found)
    return Verdict(check, evidence.target, state, asked, found, more)


def _p50(timed: Measurement, bench: BenchRecord) -> Interval | None:
    return intervals.percentile_of_blocks(timed.latency.blocks_ms, 0.5) if timed.latency else None


def _speedup(timed: Measurement, bench: BenchRecord) -> Interval | None:
    reference = next((m.latency for m in bench.measurements if m.target == bench.reference), None)
    if timed.latency is None or reference is None or len(reference.blocks_ms) != len(timed.latency.blocks_ms):
        return None
    return intervals.ratio_of_medians(reference.blocks_ms, timed.latency.blocks_ms)


def _decided(
    interval: Interval, op: Literal["<=", ">="], limit: float, n: int, evidence: _Evidence
) -> tuple[State, int | None, str]:
    """What `decide` says, and what was found in words; a fail that is one of many chances is said to be that."""
    state, more = decide(interval, op, limit, n, evidence.questions)
    found = _text(interval, n)
    if state == "inconclusive" and decide(interval, op, limit, n)[0] == "fail":
        needed = 100 * (1 - (1 - interval.confidence) / evidence.questions)
        found += f"; one of {evidence.questions} questions, and at {needed:.4g} % it does not break the limit"
    return state, more, found


def _text(interval: Interval, n: int) -> str:
    ends = [f"{end:.4g}" if end is not None else "unbounded" for end in (interval.low, interval.high)]
    return f"{interval.value:.4g} ({ends[0]} to {ends[1]}), n = {n}"
