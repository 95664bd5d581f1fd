"""Verdicts on where the work is done: nothing fell back silently, and the user's limits hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from edgesmith.errors import UsageError
from edgesmith.results import PlacedLayer, Placement, State, Verdict
from edgesmith.targets import TARGETS

CHECK = "placement"
# Below this share of the multiply-accumulates a layer that runs elsewhere is named and not held against the target.
SILENT = 0.01
# For a file made by anyone nobody said which layers are meant to stay in float: more than half must be as asked.
MOST = 0.5
PRECISIONS = frozenset(row.precision for row in TARGETS.values())
_SHOWN = 3
_UNTOLD = "the runtime does not tell where it does its work"
_KEYS = ("min_macs_on", "max_partitions", "max_copies")


@dataclass(frozen=True)
class PlacementLimits:
    """What a target must hold; empty or None asks nothing.

    min_macs_on: least share of multiply-accumulates, 0..1, by type (int8) or unit (CPUExecutionProvider); a type is
    asked of the targets that are meant to run in it.
    max_partitions: at most so many stretches of operators on one unit. max_copies: at most so many operators that
    only convert or move values.
    """

    min_macs_on: Mapping[str, float] = field(default_factory=dict)
    max_partitions: int | None = None
    max_copies: int | None = None


def limits_of(given: Mapping[str, object]) -> PlacementLimits:
    """The limits as a recipe writes them. Raises: UsageError for a key, a share or a number that cannot be."""
    unknown = sorted(set(given) - set(_KEYS))
    if unknown:
        raise UsageError("limits.placement", f"no limit is called {unknown}", f"choose from: {', '.join(_KEYS)}")
    shares = given.get("min_macs_on") or {}
    numbers = [v for v in shares.values() if isinstance(v, (int, float))] if isinstance(shares, Mapping) else [-1.0]
    if not isinstance(shares, Mapping) or len(numbers) != len(shares) or not all(0 <= v <= 1 for v in numbers):
        raise UsageError("limits.placement.min_macs_on", f"{shares!r}", "give shares of 0 to 1, like {int8: 0.9}")
    for key in _KEYS[1:]:
        value = given.get(key)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
            raise UsageError(f"limits.placement.{key}", f"{value!r}", "give a whole number")
    return PlacementLimits(
        {str(name): float(value) for name, value in shares.items()},
        given.get("max_partitions"),  # type: ignore[arg-type]
        given.get("max_copies"),  # type: ignore[arg-type]
    )


def limit_problems(limits: object) -> list[str]:
    """Mistakes of the `placement` of a recipe's limits; what is no mapping at all is reported by its type."""
    given = limits.get("placement") if isinstance(limits, Mapping) else None
    try:
        limits_of(given if isinstance(given, Mapping) else {})
    except UsageError as error:
        return [f"{error.asked}: {error.found}; {error.todo}"]
    return []


def judge(target: str, found: Placement | None, limits: PlacementLimits) -> Iterator[Verdict]:
    """Whether work fell back silently (asked wherever that is known), and a verdict for each limit."""
    if found is not None and (fallback := _fallback(target, found)) is not None:
        yield fallback
    meant = found.asked if found else TARGETS[target].precision if target in TARGETS else ""
    for name, least in limits.min_macs_on.items():
        if meant and name in PRECISIONS and name != meant:
            continue
        yield _share(target, found, name, least)
    if limits.max_partitions is not None:
        yield _count(target, "partitions", limits.max_partitions, found.partitions if found else None)
    if limits.max_copies is not None:
        yield _count(target, "copies", limits.max_copies, found.copies if found else None)


def strays(found: Placement) -> tuple[PlacedLayer, ...]:
    """Layers that run in another type or on another unit than was asked, those with the most work first."""
    elsewhere = [layer for layer in found.layers if _strays(layer, found)]
    return tuple(sorted(elsewhere, key=lambda layer: -layer.macs))


def summary(found: Placement) -> str:
    """Shares by type and unit, partitions and copies in one line."""
    kinds = ", ".join(f"{share:.1%} {name}" for name, share in _largest_first(found.share_by_precision))
    units = ", ".join(f"{share:.1%} {name}" for name, share in _largest_first(found.share_by_unit))
    parts = f"{found.partitions} partition{'s' if found.partitions != 1 else ''}, {found.copies} conversions or copies"
    return f"{kinds or 'no products'} on {units or found.asked_unit}; {parts} ({found.source})"


def _strays(layer: PlacedLayer, found: Placement) -> bool:
    other_type = bool(layer.asked) and layer.precision not in (layer.asked, "unknown")
    other_unit = bool(found.asked_unit) and layer.unit not in (found.asked_unit, "unknown")
    return other_type or other_unit


def _fallback(target: str, found: Placement) -> Verdict | None:
    asked = f"run in {found.asked} on {found.asked_unit}"
    asked += ", but for what the plan leaves out" if found.asked == "int8" else ""
    astray, total = strays(found), sum(layer.macs for layer in found.layers)
    share = sum(layer.macs for layer in astray) / total if total else 0.0
    named = "; ".join(f"{one.layer} as {one.op} in {one.precision} on {one.unit}" for one in astray[:_SHOWN])
    named += f"; and {len(astray) - _SHOWN} more" if len(astray) > _SHOWN else ""
    if share > SILENT:
        return Verdict(CHECK, target, "fail", asked, f"{share:.1%} of the work runs elsewhere: {named}")
    told = [layer for layer in found.layers if not layer.asked]
    if told and found.share_by_precision.get(found.asked, 0.0) <= MOST:
        return Verdict(CHECK, target, "fail", asked, f"most of the work does not: {summary(found)}")
    if not total or found.share_by_precision.get("unknown", 0.0) > MOST:
        return None  # nothing that could pass was seen
    return Verdict(CHECK, target, "pass", asked, summary(found) + (f"; {named}" if astray else ""))


def _share(target: str, found: Placement | None, name: str, least: float) -> Verdict:
    check, asked = f"{CHECK} on {name}", f"at least {least:.0%} of the multiply-accumulates on {name}"
    if found is None or not found.layers:
        return Verdict(check, target, "not_measured", asked, _UNTOLD)
    shares = {**found.share_by_unit, **found.share_by_precision}
    share, open_ = shares.get(name, 0.0), found.share_by_precision.get("unknown", 0.0)
    # What the runtime does not name could be on it or not: that decides nothing.
    state: State = "pass" if share >= least else "inconclusive" if share + open_ >= least else "fail"
    return Verdict(check, target, state, asked, summary(found))


def _count(target: str, what: str, most: int, count: int | None) -> Verdict:
    check, asked = f"{CHECK} {what}", f"at most {most} {what}" if most else f"no {what}"
    if count is None:
        return Verdict(check, target, "not_measured", asked, _UNTOLD)
    return Verdict(check, target, "pass" if count <= most else "fail", asked, f"{count} {what}")


def _largest_first(shares: Mapping[str, float]) -> list[tuple[str, float]]:
    return sorted(shares.items(), key=lambda pair: -pair[1])
