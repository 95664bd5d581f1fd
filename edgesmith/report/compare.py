"""Two runs side by side: what changed, and whether it is more than noise."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from edgesmith.report import wording

Report = Mapping[str, Any]
Cell = Mapping[str, Any]
Kind = Literal["changed", "within noise", "same", "not comparable", "added", "gone"]
HEADER = ("target", "what", "before", "after", "change", "verdict")
TIMED_ON = ("cpu", "cores", "os", "instruction_set", "accelerator")  # facts that a latency depends on


@dataclass(frozen=True)
class Change:
    """One number of one target in two runs. before, after, change: in words, with their 95 % intervals."""

    target: str
    what: str
    before: str
    after: str
    change: str
    kind: Kind


def compare(before: Report, after: Report) -> list[Change]:
    """Every number that both runs have, target by target, and the targets that one of them lacks.

    A difference is more than noise when its 95 % interval excludes zero; the interval comes from those of the two
    numbers, taken as independent. Source: Zou and Donner 2008, "Construction of confidence limits about effect
    measures" (MOVER). Samples that both runs share make it wider than need be, never narrower.
    """
    old, new = ({row["target"]: row for row in report["rows"]} for report in (before, after))
    other = _other_machine(before, after)
    found = []
    for target in dict.fromkeys([*old, *new]):
        if target not in new:
            found.append(Change(target, "target", old[target]["state"], "–", "", "gone"))
        elif target not in old:
            found.append(Change(target, "target", "–", new[target]["state"], "", "added"))
        else:
            found += _row(target, old[target], new[target], other)
    return found


def lines(changes: list[Change]) -> list[str]:
    """The changes as a table in aligned columns, after one line that counts them."""
    more = sum(change.kind not in ("within noise", "same") for change in changes)
    cells = [HEADER, *((c.target, c.what, c.before, c.after, c.change, c.kind) for c in changes)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(HEADER))]
    table = ["  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip() for row in cells]
    table.insert(1, "  ".join("-" * width for width in widths))
    return [f"{more} of {len(changes)} are more than noise or cannot be compared.", "", *table]


def _row(target: str, old: Cell, new: Cell, other: str) -> list[Change]:
    kind: Kind = "same" if old["state"] == new["state"] else "changed"
    found = [Change(target, "verdict", old["state"], new["state"], "", kind)]
    scores = old["accuracy"], new["accuracy"]
    if all(scores):
        found.append(_score(target, *scores))
    elif any(scores):
        before, after = (wording.percent(score["value"]) if score else "–" for score in scores)
        found.append(Change(target, "accuracy", before, after, "", "not comparable"))
    scenarios = [row.get("scenario") or "single-stream" for row in (old, new)]
    if scenarios[0] != scenarios[1]:
        other = other or f"timed in the scenarios {scenarios[0]} and {scenarios[1]}"
    for name in ("p50", "p90", "p99"):
        times = old[name], new[name]
        if any("value" in time for time in times):
            found.append(_time(target, name, *times, other))
    sizes = old["size_bytes"], new["size_bytes"]
    if all(sizes):
        kind = "same" if sizes[0] == sizes[1] else "changed"
        grown = f"{sizes[1] / sizes[0]:.3f}×"
        found.append(Change(target, "size", wording.size(sizes[0]), wording.size(sizes[1]), grown, kind))
    return found


def _score(target: str, old: Cell, new: Cell) -> Change:
    what = wording.metric_name(new["metric"])
    before, after = (_words(one, lambda value: wording.metric(value, new["metric"])) for one in (old, new))
    if old["metric"] != new["metric"]:
        return Change(target, what, f"{wording.metric_name(old['metric'])} {before}", after, "", "not comparable")
    value, low, high = _difference(old, new)
    ends = "" if math.isinf(high - low) else f" [{100 * low:.2f}, {100 * high:.2f}]".replace("-", wording.MINUS)
    return Change(target, what, before, after, f"{wording.points(value)}{ends}", _kind(value, low, high))


def _time(target: str, name: str, old: Cell, new: Cell, other: str) -> Change:
    what, (before, after) = f"{name} ms", (_words(one, wording.milliseconds) for one in (old, new))
    if other or not all(one.get("value") for one in (old, new)):
        return Change(target, what, before, after, other, "not comparable")
    logs = [
        {end: math.log(one[end]) if one.get(end) else None for end in ("value", "low", "high")} for one in (old, new)
    ]
    value, low, high = _difference(*logs)
    ends = "" if math.isinf(high - low) else f" [{math.exp(low):.3f}, {math.exp(high):.3f}]"
    return Change(target, what, before, after, f"{math.exp(value):.3f}×{ends}", _kind(value, low, high))


def _difference(old: Cell, new: Cell) -> tuple[float, float, float]:
    """New less old, with the ends of its interval; an open end of either is an open end of it."""
    value = new["value"] - old["value"]
    below = math.hypot(_reach(new, "low"), _reach(old, "high"))
    above = math.hypot(_reach(new, "high"), _reach(old, "low"))
    return value, value - below, value + above


def _reach(cell: Cell, end: str) -> float:
    found = cell.get(end)
    return math.inf if found is None else abs(found - cell["value"])


def _kind(value: float, low: float, high: float) -> Kind:
    if low > 0 or high < 0:
        return "changed"
    return "same" if value == low == high == 0 else "within noise"


def _words(cell: Cell, show: Callable[[float | None], str]) -> str:
    if cell.get("value") is None:
        return "not measured"
    ends = wording.ends(cell, show)
    return show(cell["value"]) + (f" [{ends}]" if ends else "")


def _other_machine(before: Report, after: Report) -> str:
    """Why times cannot be compared: which fact of the machine differs; "" when none does."""
    one, two = before.get("device") or {}, after.get("device") or {}
    different = [f"{name} {one.get(name)} and {two.get(name)}" for name in TIMED_ON if one.get(name) != two.get(name)]
    return f"timed on other machines: {'; '.join(different)}" if different else ""
