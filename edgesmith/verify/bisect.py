"""Which few layers must be kept in float for an int8 artefact to hold a limit: a search by rebuilding and judging.

Delta debugging of the set of layers kept in float. If the limit holds with all of them in float, halves are tried, then
what is left without each half, then quarters and so on, until no part of the set can be given back: the layers that
are left are needed, also where two are needed together. Source: Zeller and Hildebrandt 2002, "Simplifying and isolating
failure-inducing input", the algorithm ddmin.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from edgesmith.errors import UsageError
from edgesmith.results import State

MOST_REBUILDS = 40
Outcome = Literal["holds", "healed", "not quantization", "undecided"]


@dataclass(frozen=True)
class Judged:
    """Whether a limit holds with some layers in float, and what was found, in words."""

    state: State
    found: str


@dataclass(frozen=True)
class Rebuild:
    """One artefact that was built and judged: the layers kept in float, in the order of the net."""

    raised: tuple[str, ...]
    judged: Judged


@dataclass(frozen=True)
class Bisection:
    """What a search ended in.

    outcome: "holds" needs nothing in float; "healed" by `raised`; "not quantization": broken also with every layer in
    float, so look at the input, the rewrites and the drift of layers; "undecided": the samples do not decide, or it
    cannot be judged here. needed: whether each of `raised` was shown to be needed; False where the rebuilds ran out.
    """

    outcome: Outcome
    raised: tuple[str, ...]
    judged: Judged
    needed: bool
    rebuilds: tuple[Rebuild, ...]


def bisect(
    layers: Sequence[str],
    judge: Callable[[frozenset[str]], Judged],
    most: int = MOST_REBUILDS,
    say: Callable[[str], None] = lambda text: None,
) -> Bisection:
    """The layers that, kept in float, let a limit hold; each set is judged once, at most `most` in all.

    layers: what can be raised, in the order of the net. judge: rebuilds with these in float and judges; only "pass" is
    taken as healed. The last passing set is returned as it was judged, so that chance cannot pass for another one.
    Raises: UsageError without layers, with one named twice, or for fewer than two rebuilds.
    """
    if not layers or len(set(layers)) != len(layers) or most < 2:
        found = f"{len(layers)} layers, {len(set(layers))} different, {most} rebuilds"
        raise UsageError("bisect layers", found, "give each integer layer once, and two rebuilds or more")
    search = _Search(tuple(layers), judge, most, say, {})
    none = search.judged(())
    if none.state == "pass":
        return search.ended("holds", (), none, needed=True)
    if none.state == "not_measured":
        return search.ended("undecided", (), none, needed=False)
    everything = search.judged(search.layers)
    if everything.state != "pass":
        outcome: Outcome = "not quantization" if everything.state == "fail" else "undecided"
        return search.ended(outcome, search.layers, everything, needed=False)
    raised, needed = search.smallest()
    return search.ended("healed", raised, search.seen[raised], needed)


@dataclass(frozen=True)
class _Search:
    """The sets that were judged, in order."""

    layers: tuple[str, ...]
    judge: Callable[[frozenset[str]], Judged]
    most: int
    say: Callable[[str], None]
    seen: dict[tuple[str, ...], Judged]

    def judged(self, raised: tuple[str, ...]) -> Judged:
        if raised not in self.seen:
            found = self.judge(frozenset(raised))
            self.seen[raised] = found
            number = f"rebuild {len(self.seen)} of at most {self.most}"
            self.say(f"{number}, {len(raised)} of {len(self.layers)} layers in float: {found.state}, {found.found}")
        return self.seen[raised]

    def smallest(self) -> tuple[tuple[str, ...], bool]:
        """A passing set of which no part can be given back, and whether that was found out within the rebuilds."""
        raised, parts = self.layers, 2
        while len(raised) > 1:
            cut = _cut(raised, parts)
            rests = [tuple(layer for layer in raised if layer not in piece) for piece in cut] if parts > 2 else []
            healed, out_of_rebuilds = self._first([*cut, *rests])
            if healed is not None:
                parts = 2 if len(healed) <= len(cut[0]) else max(parts - 1, 2)
                raised = healed
            elif out_of_rebuilds:
                return raised, False
            elif parts >= len(raised):
                return raised, True
            else:
                parts = min(2 * parts, len(raised))
        return raised, True

    def _first(self, sets: Sequence[tuple[str, ...]]) -> tuple[tuple[str, ...] | None, bool]:
        """The first set that passes, and whether the rebuilds ran out before all were judged."""
        for raised in sets:
            if raised not in self.seen and len(self.seen) >= self.most:
                return None, True
            if self.judged(raised).state == "pass":
                return raised, False
        return None, False

    def ended(self, outcome: Outcome, raised: tuple[str, ...], judged: Judged, needed: bool) -> Bisection:
        rebuilds = tuple(Rebuild(one, found) for one, found in self.seen.items())
        return Bisection(outcome, raised, judged, needed, rebuilds)


def _cut(layers: tuple[str, ...], parts: int) -> list[tuple[str, ...]]:
    """Neighbours in parts of nearly the same number."""
    ends = [round(i * len(layers) / parts) for i in range(parts + 1)]
    return [layers[start:end] for start, end in pairwise(ends) if end > start]
