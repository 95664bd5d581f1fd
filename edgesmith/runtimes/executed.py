"""What a runtime says of the operators it executes, and what it comes to: shares of the work by type and by unit.

A session that can tell has a method `told() -> Told` beside those of the contract (session.py); `told_by` asks it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from edgesmith.artifact import Exported, Product
from edgesmith.results import PlacedLayer, Placement
from edgesmith.runtimes.session import Session

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Executed:
    """One operator as it is executed.

    names: its own in the runtime first, then those of the operators of the file that were fused into it. macs: by the
    runtime's own shapes, 0 for what multiplies no matrices. moves: it only converts or moves values, `moved_bytes`
    of them (None: not known). shape: the class of a product's shape, e.g. "depthwise 3x3". touched_bytes: of what it
    reads and writes, weights included (None: not known).
    """

    names: tuple[str, ...]
    op: str
    precision: str
    unit: str
    macs: int = 0
    moves: bool = False
    moved_bytes: int | None = None
    shape: str = ""
    touched_bytes: int | None = None


def shape_class(inside: int, window: Sequence[int]) -> str:
    """The class of a convolution's shape. inside: input channels that one output channel reads. window: its sizes."""
    size = "x".join(map(str, window))
    return f"depthwise {size}" if inside == 1 else "pointwise" if set(window) <= {1} else size


@dataclass(frozen=True)
class Told:
    """Operators in the order of execution, the unit that was asked for, and where this is known from."""

    operators: tuple[Executed, ...]
    unit: str
    source: str


def told_by(session: Session) -> Told | None:
    """What the session says of its operators; None where the runtime cannot tell. Raises: EngineFailed."""
    told: Callable[[], Told | None] | None = getattr(session, "told", None)
    return told() if told is not None else None


def placement(exported: Exported, told: Told) -> Placement:
    """Shares of multiply-accumulates: by the layers of the export where it lists them, else by the runtime's shapes."""
    layers = _by_layer(exported.products, told) if exported.products else _by_operator(exported.precision, told)
    moving = [operator for operator in told.operators if operator.moves]
    known = all(operator.moved_bytes is not None for operator in moving)
    return Placement(
        target=exported.target,
        share_by_precision=_shares((layer.precision, layer.macs) for layer in layers),
        share_by_unit=_shares((layer.unit, layer.macs) for layer in layers),
        source=told.source,
        asked=exported.precision,
        asked_unit=told.unit,
        layers=tuple(layers),
        partitions=len(list(itertools.groupby(operator.unit for operator in told.operators))),
        copies=len(moving),
        copied_bytes=sum(operator.moved_bytes or 0 for operator in moving) if known else None,
    )


def _by_operator(asked: str, told: Told) -> list[PlacedLayer]:
    """A file made by anyone: float layers of a quantized file may be meant, so nothing is asked of a single one."""
    single = "" if asked == "int8" else asked
    return [PlacedLayer(o.names[0], o.op, o.precision, o.unit, o.macs, single) for o in told.operators if o.macs]


def _by_layer(products: Sequence[Product], told: Told) -> list[PlacedLayer]:
    """Every exported layer with the operator that runs it: by its own names first, then by what it was fused with."""
    free = [operator for operator in told.operators if operator.macs]
    found: dict[str, Executed] = {}
    for own in (True, False):
        for product in (p for p in products if p.layer not in found):
            names = set(product.names[:2] if own else product.names)
            taken = next((operator for operator in free if names & set(operator.names)), None)
            if taken is not None:
                found[product.layer] = taken
                # One operator may run several layers (a fused block); by a neighbour's name it is taken once.
                free = free if own else [operator for operator in free if operator is not taken]
        if own:
            free = [operator for operator in free if all(operator is not other for other in found.values())]
    return [_placed(product, found.get(product.layer)) for product in products]


def _placed(product: Product, operator: Executed | None) -> PlacedLayer:
    op, precision, unit = (operator.op, operator.precision, operator.unit) if operator else ("", UNKNOWN, UNKNOWN)
    return PlacedLayer(product.layer, op, precision, unit, product.macs, product.precision)


def _shares(parts: Iterable[tuple[str, int]]) -> dict[str, float]:
    sums: dict[str, int] = {}
    for key, macs in parts:
        sums[key] = sums.get(key, 0) + macs
    total = sum(sums.values())
    return {key: macs / total for key, macs in sums.items()} if total else {}
