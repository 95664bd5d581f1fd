"""A baseline that the user commits: what each target measured once, and whether today's run is worse."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from edgesmith.results import Interval, State, Verdict
from edgesmith.verify.gate import decide

CHECK = "baseline"


@dataclass(frozen=True)
class Allowed:
    """How much worse than the baseline still passes.

    score: of every accuracy and cosine, as a difference. slower, larger: of the p50 and the size, as a share.
    macs: of the work in the asked type, as a difference.
    """

    score: float = 0.01
    slower: float = 0.05
    larger: float = 0.01
    macs: float = 0.01


@dataclass(frozen=True)
class Score:
    """One metric (higher is better), and over how many samples."""

    estimate: Interval
    n: int


@dataclass(frozen=True)
class Known:
    """What is known of one target. timed_on: all that a latency depends on beside the model, in words."""

    scores: Mapping[str, Score] = field(default_factory=dict)
    size_bytes: int | None = None
    p50_ms: Interval | None = None
    timed_on: str = ""
    macs_as_asked: float | None = None
    partitions: int | None = None


@dataclass(frozen=True)
class Baseline:
    """The file: targets by name, the digest of the data they were judged on, and what is allowed."""

    targets: Mapping[str, Known]
    data: str
    allowed: Allowed = field(default_factory=Allowed)


def baseline_of(report: Mapping[str, Any]) -> Baseline:
    """What a report says of its targets; the reference is left out."""
    rows = {row["target"]: row for row in report["rows"] if row["target"] != report["reference"]}
    return Baseline({name: _known(row, report) for name, row in rows.items()}, report["provenance"].get("data", ""))


def compare(before: Baseline, now: Baseline) -> Iterator[Verdict]:
    """A verdict for every number of the baseline; a target that is gone was not measured."""
    same_data = before.data == now.data
    for name, old in before.targets.items():
        if name not in now.targets:
            yield Verdict(CHECK, name, "not_measured", "a target of the baseline", "it is not among today's targets")
            continue
        yield from _compare(name, old, now.targets[name], before.allowed, same_data)


def new_targets(before: Baseline, now: Baseline) -> tuple[str, ...]:
    """Targets that the baseline does not know."""
    return tuple(name for name in now.targets if name not in before.targets)


def _compare(name: str, old: Known, new: Known, allowed: Allowed, same_data: bool) -> Iterator[Verdict]:
    for metric, was in old.scores.items():
        yield _score(name, metric, was, new.scores.get(metric), allowed.score, same_data)
    if old.size_bytes:
        grown = None if new.size_bytes is None else new.size_bytes / old.size_bytes - 1
        asked = f"at most {allowed.larger:.1%} larger than {old.size_bytes} bytes"
        yield _exact(name, "size", asked, grown, allowed.larger)
    if old.macs_as_asked is not None:
        lost = None if new.macs_as_asked is None else old.macs_as_asked - new.macs_as_asked
        asked = f"at most {allowed.macs:.1%} less than {old.macs_as_asked:.1%} of the work in the asked type"
        yield _exact(name, "macs", asked, lost, allowed.macs)
    if old.partitions is not None:
        more = None if new.partitions is None else float(new.partitions - old.partitions)
        yield _exact(name, "partitions", f"no more partitions than {old.partitions}", more, 0.0)
    if old.p50_ms is not None:
        yield _latency(name, old, new, allowed.slower)


def _score(name: str, metric: str, was: Score, found: Score | None, limit: float, same_data: bool) -> Verdict:
    check, asked = f"{CHECK} {metric}", f"{metric} at most {limit:g} below {was.estimate.value:.4g}"
    if found is None:
        return Verdict(check, name, "not_measured", asked, "it was not measured today")
    if not same_data:
        return Verdict(check, name, "not_measured", asked, "it was judged on other data; write the baseline anew")
    if found.estimate.value == was.estimate.value and found.n == was.n:
        return Verdict(check, name, "pass", asked, f"{found.estimate.value:.4g}, as it was")
    state, more = decide(difference(was.estimate, found.estimate), "<=", limit, found.n)
    return Verdict(check, name, state, asked, f"{found.estimate.value:.4g}, n = {found.n}", more)


def _latency(name: str, old: Known, new: Known, limit: float) -> Verdict:
    check = f"{CHECK} p50_ms"
    asked = f"p50 at most {limit:.0%} above {old.p50_ms.value:.4g} ms" if old.p50_ms else ""
    if old.p50_ms is None or new.p50_ms is None:
        return Verdict(check, name, "not_measured", asked, "it was not timed today")
    if old.timed_on != new.timed_on:
        found = f"timed on {new.timed_on}; the baseline on {old.timed_on}"
        return Verdict(check, name, "not_measured", asked, found)
    ratio = difference(_log(new.p50_ms), _log(old.p50_ms))
    state, _ = decide(ratio, "<=", math.log1p(limit), 1)
    return Verdict(check, name, state, asked, f"{new.p50_ms.value:.4g} ms, {math.expm1(ratio.value):+.1%}")


def _exact(name: str, what: str, asked: str, worse: float | None, limit: float) -> Verdict:
    if worse is None:
        return Verdict(f"{CHECK} {what}", name, "not_measured", asked, "it is not known today")
    state: State = "pass" if worse <= limit else "fail"
    return Verdict(f"{CHECK} {what}", name, state, asked, "as it was" if worse == 0 else f"worse by {worse:.3g}")


def difference(first: Interval, second: Interval) -> Interval:
    """first - second of two estimates, from their intervals. Source: Zou & Donner 2008 (MOVER), equation 5.

    For the same samples, whose estimates go together, it is wider than need be.
    """
    value = first.value - second.value
    low = _root(value, first.low, first.value, second.high, second.value, -1.0)
    return Interval(value, low, _root(value, first.high, first.value, second.low, second.value, 1.0), first.confidence)


def _root(
    value: float, one: float | None, one_value: float, two: float | None, two_value: float, sign: float
) -> float | None:
    if one is None or two is None:
        return None
    return value + sign * math.hypot(one - one_value, two - two_value)


def _log(interval: Interval) -> Interval:
    ends = [math.log(end) if end else None for end in (interval.low, interval.high)]
    return Interval(math.log(interval.value), ends[0], ends[1], interval.confidence)


def _known(row: Mapping[str, Any], report: Mapping[str, Any]) -> Known:
    name, p50, device = row["target"], row["p50"], report["device"] or {}
    placed = (report.get("placement") or {}).get(name)
    scores = {a["metric"]: Score(_interval(a["estimate"]), a["n"]) for a in report["accuracies"] if a["target"] == name}
    scores |= {
        f"cosine of {a['output']}": Score(_interval(a["cosine"]), a["n"])
        for a in report["agreements"]
        if a["target"] == name and not a["problem"]
    }
    where = (device.get("cpu"), f"{device.get('cores')} cores", row["engine"], f"{row['threads']} threads")
    timed = "value" in p50
    return Known(
        {metric: score for metric, score in scores.items() if score.n and math.isfinite(score.estimate.value)},
        row["size_bytes"],
        _interval(p50) if timed else None,
        f"{', '.join(map(str, where))}, batch {row['batch']}" if timed else "",
        placed["share_by_precision"].get(placed["asked"], 0.0) if placed and placed["layers"] else None,
        placed["partitions"] if placed else None,
    )


def _interval(cell: Mapping[str, Any]) -> Interval:
    value = math.nan if cell["value"] is None else float(cell["value"])
    return Interval(value, cell["low"], cell["high"])
