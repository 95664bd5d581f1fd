"""Which function computes which MIL operation, and how a function says what it takes.

An operation is a plain function over torch; its parameters have the names of the operation's MIL inputs, and their
annotations say in which form each is wanted:

    @op("elu")
    def elu(x: Tensor, alpha: float = 1.0) -> Tensor: ...

    @op("transpose")
    def transpose(x: Tensor, perm: Ints) -> Tensor: ...

    @op("concat")
    def concat(values: Tensors, axis: int, interleave: bool = False) -> Tensor: ...

    @op("gather", since="ios17")          # a later version of an operation: another function of another name
    def gather_ios17(x: Tensor, indices: Tensor, axis: int = 0, batch_dims: int = 0, ...) -> Tensor: ...

Annotations: `Tensor`, `Tensor | None`, `Tensors` (an input that takes several values), `int float bool str`, `Ints
Floats Bools Strings` (tuples), `Any` (a constant in its Python form), `List` (a MIL list: a Python list of tensors),
`Call` (the facts below), `Blocks` (of control flow), `Box` (a state). A default stands for an input that the program
leaves out, and is the one of MIL.

What the plan (plan.py) does, so that an operation need not:
- Constants become Python values once, at load. What is wanted as a Python value but computed by the program (a `shape`
  or a `begin`) is converted in every run. A scalar constant that is wanted as a `Tensor` is a 0-d tensor.
- A result has the type the program declares: return int64 where int32 is declared, or float32 where fp16 is, and it is
  converted. In the modes `fp16` and `ane-like` it is also rounded there (numerics.py). So an operation never
  sees, and should never make, a float16 tensor: every MIL float is a float32 tensor, rounded or not.
- MIL types travel as: fp16 fp32 -> float32; bool -> bool; int8 int16 int32 int64 uint8 -> the same; uint16 -> int32;
  uint32 uint64 -> int64; int4 -> int8; uint1 uint2 uint3 uint4 uint6 -> uint8; string -> str (types.py CARRIER).
- The shape of a result is compared with the declared one; a difference is an error that names the operation.
- An exception of torch becomes EngineFailed naming the operation, so plain torch errors are fine inside. Raise
  `EdgesmithError`s only where words of ours help.

What an operation must do:
- Never write into its inputs (they may be constants or inputs of the caller). Views may be returned.
- Return a Tensor, a `tuple` of tensors for several outputs (also when there is one of a variable number, as in split),
  or a `list` for a MIL list.
- Call `limits.check_size(shape)` before it makes a tensor whose size a *value* decides (fill, tile, range_1d, pad,
  one_hot, resize, random_*, list operations): a hostile program then ends in an error, not in an exhausted machine.
- Sum many products with `numerics.matmul`-like functions of numerics.py if it should feel the mode `ane-like`
  (`call.numerics.half_sums`); elementwise operations need not care.

`since` is the first opset that has this version ("ios15" ... "ios18", "ios26"); the program's opset picks the newest
that is not newer. An operation that is absent, or newer than the program's opset, is an error naming both.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from edgesmith.errors import EngineFailed
from edgesmith.runtimes.mil.numerics import Numerics
from edgesmith.runtimes.mil.types import OPSETS, TensorType

Tensor = torch.Tensor
Tensors = tuple[torch.Tensor, ...]
Ints = tuple[int, ...]
Floats = tuple[float, ...]
Bools = tuple[bool, ...]
Strings = tuple[str, ...]
List = list[torch.Tensor]


@dataclass(frozen=True)
class Call:
    """The facts of one operation of a program that are known at load.

    name: of its first output. inputs, outputs: their declared types (`Type`: dtype in MIL's words, shape with None
    for what is decided at run time); an input that takes several values has the type of the first. given: the names
    of the inputs that the program gives.
    """

    op: str
    name: str
    opset: str
    inputs: Mapping[str, TensorType]
    outputs: tuple[TensorType, ...]
    given: frozenset[str]
    numerics: Numerics


class Box:
    """A state: what read_state copies and write_state replaces."""

    def __init__(self, value: torch.Tensor) -> None:
        self.value = value

    def put(self, value: torch.Tensor) -> None:
        """Replace what it holds. Raises: ValueError for another shape."""
        if value.shape != self.value.shape:
            raise ValueError(f"a state of shape {tuple(self.value.shape)} was given one of {tuple(value.shape)}")
        self.value = value


@dataclass(frozen=True)
class Blocks:
    """The blocks of a control-flow operation as functions from their inputs to their outputs."""

    run: tuple[Callable[..., tuple[Any, ...]], ...]


@dataclass(frozen=True)
class Entry:
    """One version of an operation. wants: parameter -> annotation; required: the parameters without a default."""

    name: str
    since: str
    function: Callable[..., Any]
    wants: Mapping[str, Any]
    required: frozenset[str]


_ENTRIES: dict[str, dict[str, Entry]] = {}
_F = TypeVar("_F", bound=Callable[..., Any])
NOT_INPUTS = (Call, Blocks)


def op(name: str, since: str = "ios15") -> Callable[[_F], _F]:
    """Register the function below as the operation `name` from opset `since` on."""

    def register(function: _F) -> _F:
        versions = _ENTRIES.setdefault(name, {})
        if since not in OPSETS or since in versions:
            raise ValueError(f"operation {name!r} since {since!r} is registered twice, or there is no such opset")
        wants = typing.get_type_hints(function)
        wants.pop("return", None)
        parameters = inspect.signature(function).parameters.values()
        required = {p.name for p in parameters if p.default is p.empty and wants[p.name] not in NOT_INPUTS}
        versions[since] = Entry(name, since, function, wants, frozenset(required))
        return function

    return register


def find(name: str, opset: str) -> Entry:
    """The version of an operation that a program of `opset` means. Raises: EngineFailed naming both."""
    versions = _ENTRIES.get(name, {})
    fitting = [since for since in versions if OPSETS.index(since) <= OPSETS.index(opset)]
    if not fitting:
        newest = f"it exists from {min(versions, key=OPSETS.index)} on" if versions else "no such operation is known"
        todo = "take another operation, or convert for another deployment target"
        raise EngineFailed(f"run the MIL operation {name!r} of opset {opset}", newest, todo)
    return versions[max(fitting, key=OPSETS.index)]


def registered() -> dict[str, tuple[str, ...]]:
    """Every operation with the opsets that brought a version of it, in order."""
    return {name: tuple(sorted(_ENTRIES[name], key=OPSETS.index)) for name in sorted(_ENTRIES)}
