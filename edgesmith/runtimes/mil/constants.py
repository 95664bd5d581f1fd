"""The constants of a program: what its values say, decoded once."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from edgesmith.errors import DamagedArtifact, EngineFailed
from edgesmith.runtimes.mil import limits
from edgesmith.runtimes.mil.blob import WeightFile, packed_bytes, unpack
from edgesmith.runtimes.mil.types import CARRIER, NUMPY, TensorType, read_type

# Field of TensorValue -> the types that are written in it; the others are raw bytes.
_FIELDS = {
    "floats": {"fp32"}, "doubles": {"fp64"}, "bools": {"bool"}, "longInts": {"int64", "uint64"}, "strings": {"string"},
    "ints": {"int32", "int16", "uint16", "uint32", "int8", "uint8"},
}  # fmt: skip

Weights = Callable[[str], WeightFile]


class Constant:
    """A decoded value: an array of its type, or strings. Several operations share one, and its tensor."""

    def __init__(self, type_: TensorType, value: np.ndarray | tuple[str, ...] | str) -> None:
        self.type, self.value = type_, value

    @functools.cached_property
    def tensor(self) -> torch.Tensor:
        """As operations see it: floats are float32."""
        if not isinstance(self.value, np.ndarray):
            raise EngineFailed("use a constant as a tensor", f"it is {self.value!r}", "convert the model again")
        wide = {"uint16": np.int32, "uint32": np.int64, "uint64": np.int64}.get(self.type.dtype)
        array = self.value if wide is None else self.value.astype(wide)
        return torch.from_numpy(np.ascontiguousarray(array)).reshape(array.shape).to(CARRIER[self.type.dtype])

    def python(self) -> Any:
        """As a number, a string, or a flat tuple of them."""
        if not isinstance(self.value, np.ndarray):
            return self.value
        return self.value.item() if self.value.ndim == 0 else tuple(self.value.reshape(-1).tolist())


def read_constant(value: Any, weights: Weights, where: str) -> Constant:
    """Decode a Value message. Raises: DamagedArtifact when the data do not fit the type."""
    kind = read_type(value.type, where)
    if kind.container == "list":
        return Constant(kind, _texts(value, where))
    if kind.shape is None or None in kind.shape:
        raise _damaged(where, "a constant of an unknown shape")
    shape = tuple(int(size or 0) for size in kind.shape)
    limits.check_size(shape)
    count = math.prod(shape)
    if value.WhichOneof("value") == "blobFileValue":
        place = value.blobFileValue
        return Constant(kind, weights(place.fileName).read(place.offset, kind.dtype, count, where).reshape(shape))
    return _immediate(kind, value.immediateValue.tensor, shape, where)


def _immediate(kind: TensorType, tensor: Any, shape: tuple[int, ...], where: str) -> Constant:
    field, count = tensor.WhichOneof("value"), math.prod(shape)
    if field is None:
        raise _damaged(where, "no value")
    values = getattr(tensor, field).values
    if field == "bytes":
        if kind.dtype == "string" or len(values) != packed_bytes(kind.dtype, count):
            raise _damaged(where, f"{len(values)} bytes for {count} values of {kind.dtype}")
        return Constant(kind, unpack(np.frombuffer(values, np.uint8), kind.dtype, count).reshape(shape))
    if kind.dtype not in _FIELDS[field] or len(values) != count:
        raise _damaged(where, f"{len(values)} {field} for {count} values of {kind.dtype}")
    if field == "strings":
        return Constant(kind, values[0] if not shape else tuple(values))
    # Through 64 bits: a value that its type cannot hold must not wrap.
    array = np.array(values, None if field in ("floats", "doubles", "bools") else np.int64)
    narrow = array.astype(NUMPY[kind.dtype])
    if field in ("ints", "longInts") and (narrow.astype(np.int64) != array).any():
        raise _damaged(where, f"a value that {kind.dtype} cannot hold")
    return Constant(kind, narrow.reshape(shape))


def _texts(value: Any, where: str) -> tuple[Any, ...]:
    """A list of scalars, as classify has one: strings or whole numbers."""
    found: list[Any] = []
    for item in value.immediateValue.list.values:
        tensor = item.immediateValue.tensor
        field = tensor.WhichOneof("value")
        if field not in ("strings", "longInts", "ints") or len(getattr(tensor, field).values) != 1:
            raise _damaged(where, "a list of something else than strings or whole numbers")
        found.append(getattr(tensor, field).values[0])
    return tuple(found)


def _damaged(where: str, found: str) -> DamagedArtifact:
    return DamagedArtifact(f"read the constant {where}", found, "convert the model again")
