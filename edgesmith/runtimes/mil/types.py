"""The types of MIL: their names, the torch type that carries each, and how the protobuf writes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from edgesmith.errors import DamagedArtifact

# The opset of a function in the file -> the deployment target that people know.
OPSET_OF = {"CoreML5": "ios15", "CoreML6": "ios16", "CoreML7": "ios17", "CoreML8": "ios18", "CoreML9": "ios26"}
OPSETS = tuple(OPSET_OF.values())

# Numbers of DataType in MIL.proto.
_NAMES = {
    1: "bool", 2: "string", 10: "fp16", 11: "fp32", 12: "fp64", 21: "int8", 22: "int16", 23: "int32", 24: "int64",
    25: "int4", 31: "uint8", 32: "uint16", 33: "uint32", 34: "uint64", 35: "uint4", 36: "uint2", 37: "uint1",
    38: "uint6", 39: "uint3",
}  # fmt: skip

# MIL type -> the torch type that carries it. torch has few operators on unsigned 16 and 32 bits: a wider one carries
# them. Strings are Python strings.
CARRIER = {
    "bool": torch.bool, "fp16": torch.float32, "fp32": torch.float32, "fp64": torch.float32, "int8": torch.int8,
    "int16": torch.int16, "int32": torch.int32, "int64": torch.int64, "uint8": torch.uint8, "uint16": torch.int32,
    "uint32": torch.int64, "uint64": torch.int64, "int4": torch.int8, "uint1": torch.uint8, "uint2": torch.uint8,
    "uint3": torch.uint8, "uint4": torch.uint8, "uint6": torch.uint8,
}  # fmt: skip

# MIL type -> the numpy type of what a caller gives and gets.
NUMPY = {"bool": "bool", "fp16": "float16", "fp32": "float32", "fp64": "float64", "int4": "int8"}
NUMPY |= {name: "uint8" for name in ("uint1", "uint2", "uint3", "uint4", "uint6")}
NUMPY |= {f"{sign}int{bits}": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}

SUB_BYTE = {"int4": 4, "uint4": 4, "uint6": 6, "uint3": 3, "uint2": 2, "uint1": 1}


@dataclass(frozen=True)
class TensorType:
    """A tensor, or a list, state or dictionary of it. shape: None for a size, or a rank, decided at run time."""

    dtype: str
    shape: tuple[int | None, ...] | None
    container: str = ""

    def accepts(self, shape: tuple[int, ...]) -> bool:
        """Whether a tensor of this shape is one of the type."""
        if self.shape is None:
            return True
        return len(self.shape) == len(shape) and all(a is None or a == b for a, b in zip(self.shape, shape))


def read_type(proto: Any, where: str) -> TensorType:
    """The type in a ValueType message. Raises: DamagedArtifact for one that MIL does not have."""
    kind = proto.WhichOneof("type")
    if kind == "tensorType":
        return TensorType(_dtype(proto.tensorType.dataType, where), _shape(proto.tensorType, where))
    if kind == "listType":
        inner = read_type(proto.listType.type, where)
        return TensorType(inner.dtype, inner.shape, "list")
    if kind == "stateType":
        inner = read_type(proto.stateType.wrappedType, where)
        return TensorType(inner.dtype, inner.shape, "state")
    if kind == "dictionaryType":
        return TensorType(read_type(proto.dictionaryType.keyType, where).dtype, None, "dictionary")
    raise DamagedArtifact(f"read the type of {where}", f"{kind or 'no type'}", "convert the model again")


def _dtype(number: int, where: str) -> str:
    if number not in _NAMES:
        raise DamagedArtifact(f"read the type of {where}", f"data type {number} is unknown", "convert the model again")
    return _NAMES[number]


def _shape(proto: Any, where: str) -> tuple[int | None, ...] | None:
    if any(axis.unknown.variadic for axis in proto.dimensions) or proto.rank < 0:
        return None
    if proto.rank != len(proto.dimensions):
        found = f"rank {proto.rank} with {len(proto.dimensions)} sizes"
        raise DamagedArtifact(f"read the type of {where}", found, "convert the model again")
    return tuple(
        axis.constant.size if axis.WhichOneof("dimension") == "constant" else None for axis in proto.dimensions
    )
