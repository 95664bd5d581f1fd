"""Times by layer: what a runtime's own profiler says of its operators, put together by the user's module paths.

A session that has a profiler has a method `profiled(feeds, runs) -> Profile` beside those of the contract (session.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgesmith import intervals
from edgesmith.artifact import Exported
from edgesmith.results import LayerTime, LayerTimes
from edgesmith.runtimes.session import Session
from edgesmith.tensors import Arrays

WARM = 3  # runs under the profiler that are not counted


@dataclass(frozen=True)
class OperatorTime:
    """One operator of the runtime. names: its own first, then those of what was fused into it. ms: a number a run."""

    names: tuple[str, ...]
    op: str
    ms: tuple[float, ...]


@dataclass(frozen=True)
class Profile:
    """Operators in the order of execution, what each whole run took, and where this is known from."""

    operators: tuple[OperatorTime, ...]
    whole_ms: tuple[float, ...]
    source: str


def profiled_by(session: Session, feeds: Sequence[Arrays], runs: int) -> Profile | None:
    """`runs` inferences under the session's profiler, inputs rotating; None where it has none. Raises: EngineFailed."""
    profiled: Callable[[Sequence[Arrays], int], Profile] | None = getattr(session, "profiled", None)
    return profiled(feeds, runs) if profiled is not None else None


def rotated(feeds: Sequence[Arrays], runs: int) -> list[Arrays]:
    """What to run: WARM runs that are not counted, then `runs` that are."""
    return [feeds[index % len(feeds)] for index in range(WARM + runs)]


def layer_times(exported: Exported, profile: Profile) -> LayerTimes:
    """Sums by layer. A kernel that computes several layers is one row: the first with work of its own names it."""
    rows: dict[str, list[tuple[OperatorTime, tuple[str, ...]]]] = {}
    row_of: dict[str, str] = {}
    for operator, layers in zip(profile.operators, _layers(exported, profile.operators)):
        first = next((row_of[layer] for layer in layers if layer in row_of), layers[0] if layers else "")
        row_of.update({layer: first for layer in layers if layer not in row_of})
        # What has no layer is put together by its kind.
        rows.setdefault(first or f" {operator.op}", []).append((operator, layers))
    total = sum(sum(operator.ms) for operator in profile.operators) or 1.0
    found = tuple(_row(key, parts, total) for key, parts in rows.items())
    return LayerTimes(
        found,
        intervals.mean(np.asarray(profile.whole_ms)),
        len(profile.whole_ms),
        sum(row.share for row in found if row.layer),
        profile.source,
    )


def _row(key: str, parts: Sequence[tuple[OperatorTime, tuple[str, ...]]], total: float) -> LayerTime:
    taken = np.sum([operator.ms for operator, _ in parts], axis=0)
    layer = "" if key.startswith(" ") else key
    members = dict.fromkeys(one for _, layers in parts for one in layers if one != layer)
    ops = ", ".join(dict.fromkeys(operator.op for operator, _ in parts))
    return LayerTime(layer, ops, intervals.mean(taken), float(taken.sum()) / total, tuple(members))


def _layers(exported: Exported, operators: Sequence[OperatorTime]) -> list[tuple[str, ...]]:
    """The layers each operator computes: the one whose products it does, then those that its names belong to."""
    path_of = exported.operator_layers or {name: path for path, name in exported.layer_names.items()}
    multiplied = _products(exported, operators, set(path_of.values()))
    found = []
    for number, operator in enumerate(operators):
        named = [path_of[name] for name in operator.names if name in path_of] or _ending(operator.names, path_of)
        found.append(tuple(dict.fromkeys([*multiplied.get(number, ()), *named])))
    return found


def _products(exported: Exported, operators: Sequence[OperatorTime], known: set[str]) -> dict[int, list[str]]:
    """Layers that multiply matrices, by the number of their operator: by their own names, else by what they fused with.

    An operator that is some layer's own is no other's by fusion.
    """
    found: dict[int, list[str]] = {}
    missed = []
    for product in exported.products:
        own = _first(operators, product.names[:2], ())
        if own is None:
            missed.append(product)
        else:
            found.setdefault(own, []).append(_shortened(product.layer, known))
    for product in missed:
        fused = _first(operators, product.names, tuple(found))
        if fused is not None:
            found[fused] = [_shortened(product.layer, known)]
    return found


def _first(operators: Sequence[OperatorTime], names: Sequence[str], taken: Sequence[int]) -> int | None:
    numbers = (n for n, operator in enumerate(operators) if set(names) & set(operator.names) and n not in taken)
    return next(numbers, None)


def _shortened(path: str, known: set[str]) -> str:
    """The user's layer for a part that a rewrite made: prelu for prelu.scaled."""
    shorter = path
    while shorter and shorter not in known:
        shorter = shorter.rpartition(".")[0]
    return shorter or path


def _ending(names: Sequence[str], path_of: Mapping[str, str]) -> list[str]:
    """A conversion that a runtime put before an operator is called after it: x_abcd_acdb_node_conv2d."""
    found = [known for known in path_of for name in names if name.endswith(f"_{known}")]
    return [path_of[max(found, key=len)]] if found else []
