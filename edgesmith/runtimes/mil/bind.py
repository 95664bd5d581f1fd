"""From an operation of the program to a step: constants are put in place, what flows is named by its slot."""

from __future__ import annotations

import functools
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from edgesmith.errors import EngineFailed
from edgesmith.runtimes.mil.constants import Constant
from edgesmith.runtimes.mil.numerics import round_half
from edgesmith.runtimes.mil.registry import NOT_INPUTS, Blocks, Call, Entry, Tensors
from edgesmith.runtimes.mil.types import CARRIER, TensorType

# What flows lies in a list, one slot a value.
Slots = list[Any]
Source = int | Constant
Step = Callable[[Slots], None]

_PYTHON = {int, float, bool, str}


def bind(
    entry: Entry, call: Call, sources: Mapping[str, Sequence[Source]], blocks: Sequence[Callable[..., Any]] = ()
) -> Callable[[Slots], Any]:
    """The function of the slots that computes one operation.

    blocks: those of control flow, functions of the slots and the values of their inputs.
    Raises: EngineFailed for inputs it does not take.
    """
    _check_names(entry, call, sources)
    fixed: dict[str, Any] = {name: call for name, want in entry.wants.items() if want is Call}
    flowing: dict[str, Callable[[Slots], Any]] = {}
    for name in (name for name, want in entry.wants.items() if want is Blocks):
        flowing[name] = lambda slots: Blocks(tuple(functools.partial(block, slots) for block in blocks))
    for name, found in sources.items():
        want = _without_none(entry.wants[name])
        if all(isinstance(source, Constant) for source in found):
            fixed[name] = _constant(want, found, call, name)  # type: ignore[arg-type]
        else:
            flowing[name] = _getter(want, found)
    function = functools.partial(entry.function, **fixed) if fixed else entry.function
    order = [name for name in entry.wants if name in flowing]
    if order == list(entry.wants)[: len(order)] and all(entry.wants[n] is torch.Tensor for n in order):
        return _positional(function, [typing.cast(int, sources[name][0]) for name in order])
    items = tuple(flowing.items())
    return lambda slots: function(**{name: get(slots) for name, get in items})


def _positional(function: Callable[..., Any], where: list[int]) -> Callable[[Slots], Any]:
    """The frequent cases without a dictionary a call."""
    if len(where) == 1:
        only = where[0]
        return lambda slots: function(slots[only])
    if len(where) == 2:
        first, second = where
        return lambda slots: function(slots[first], slots[second])
    return lambda slots: function(*[slots[number] for number in where])


def store(outputs: Sequence[int], kinds: Sequence[TensorType], call: Call, compute: Callable[[Slots], Any]) -> Step:
    """Compute, settle what came out to its declared type, and put it into its slots."""
    settle = [settler(kind, call) for kind in kinds]
    if len(outputs) == 1:
        slot, only = outputs[0], settle[0]

        def one(slots: Slots) -> None:
            value = compute(slots)
            slots[slot] = only(value[0] if type(value) is tuple and len(value) == 1 else value)

        return one

    def several(slots: Slots) -> None:
        values = compute(slots)
        if not outputs:
            return
        if not isinstance(values, tuple) or len(values) != len(outputs):
            raise ValueError(f"{len(outputs)} outputs are declared, {len(values)} were computed")
        for slot, finish, value in zip(outputs, settle, values):
            slots[slot] = finish(value)

    return several


def settler(kind: TensorType, call: Call) -> Callable[[Any], Any]:
    """What makes a result one of the declared type: converted, rounded in the modes that round, of its shape."""
    if kind.container:
        return lambda value: value
    if kind.dtype == "string":
        return _text
    carrier, rounds = CARRIER[kind.dtype], call.numerics.rounds and kind.dtype == "fp16"
    fixed = kind.shape if kind.shape is not None and None not in kind.shape else None

    def settle(value: torch.Tensor) -> torch.Tensor:
        if value.dtype is not carrier:
            value = value.to(carrier)
        if value.shape != fixed and not kind.accepts(tuple(value.shape)):
            raise ValueError(f"the program declares the shape {kind.shape}, computed was {tuple(value.shape)}")
        return round_half(value) if rounds else value

    return settle


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"the program declares a string, computed was a {type(value).__name__}")
    return value


def _check_names(entry: Entry, call: Call, sources: Mapping[str, Sequence[Source]]) -> None:
    strange = [name for name in sources if name not in entry.wants or entry.wants[name] in NOT_INPUTS]
    missing = sorted(entry.required - set(sources))
    if strange or missing:
        found = f"inputs {strange} are unknown" if strange else f"inputs {missing} are missing"
        asked = f"run {call.op} {call.name!r} of opset {call.opset}"
        raise EngineFailed(asked, found, "convert the model again, for an opset that is known")
    for name, found_sources in sources.items():
        if len(found_sources) != 1 and _without_none(entry.wants[name]) not in (Tensors, Any):
            found = f"input {name!r} has {len(found_sources)} values"
            raise EngineFailed(f"run {call.op} {call.name!r}", found, "convert the model again")


def _constant(want: Any, found: Sequence[Constant], call: Call, name: str) -> Any:
    try:
        if want == Tensors:
            return tuple(constant.tensor for constant in found)
        if want is torch.Tensor:
            return found[0].tensor if found[0].type.dtype != "string" else found[0].value
        if want is Any:
            return found[0].python() if len(found) == 1 else tuple(constant.python() for constant in found)
        return _as_python(want, found[0].python())
    except (TypeError, ValueError) as error:
        asked = f"run {call.op} {call.name!r}"
        raise EngineFailed(
            asked, f"its input {name!r} is a {found[0].type}: {error}", "convert the model again"
        ) from error


def _as_python(want: Any, value: Any) -> Any:
    """One number or string, or a flat tuple of them."""
    if want in _PYTHON:
        if isinstance(value, tuple):
            (value,) = value
        if isinstance(value, str) != (want is str):
            raise TypeError(f"{value!r} where a {want.__name__} belongs")
        return want(value)
    item = typing.get_args(want)[0]
    return tuple(_as_python(item, one) for one in (value if isinstance(value, tuple) else (value,)))


def _getter(want: Any, found: Sequence[Source]) -> Callable[[Slots], Any]:
    if want == Tensors:
        parts = [source.tensor if isinstance(source, Constant) else source for source in found]
        return lambda slots: tuple(slots[part] if isinstance(part, int) else part for part in parts)
    slot = typing.cast(int, found[0])
    if want in _PYTHON or typing.get_origin(want) is tuple:
        return lambda slots: _as_python(want, _numbers(slots[slot]))
    return lambda slots: slots[slot]


def _numbers(value: Any) -> Any:
    """A tensor that was computed, as Python numbers."""
    if not isinstance(value, torch.Tensor):
        return value
    return value.item() if value.ndim == 0 else tuple(value.reshape(-1).tolist())


def _without_none(want: Any) -> Any:
    if typing.get_origin(want) in (typing.Union, types.UnionType):
        (want,) = [choice for choice in typing.get_args(want) if choice is not type(None)]
    return want
