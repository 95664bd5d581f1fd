"""The weight file of a package: 64-byte records, each naming a type, a length and an offset.

Read here and not by coremltools' compiled reader, which exists on macOS and Linux only; the tests hold the two to the
same numbers. Layout (version 2): a header of 64 bytes (uint32 count, uint32 version), then for every tensor a record
of 64 bytes at a multiple of 64 (uint32 mark, uint32 type, uint64 bytes, uint64 offset of the data, uint64 unused bits
at the end). Types smaller than a byte are packed from the lowest bit up, across bytes.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from edgesmith.errors import DamagedArtifact
from edgesmith.runtimes.mil.types import NUMPY, SUB_BYTE

_MARK, _RECORD = 0xDEADBEEF, struct.Struct("<IIQQQ")
_TYPES = {
    1: "fp16", 2: "fp32", 3: "uint8", 4: "int8", 6: "int16", 7: "uint16", 8: "int4", 9: "uint1", 10: "uint2",
    11: "uint4", 12: "uint3", 13: "uint6", 14: "int32", 15: "uint32",
}  # fmt: skip


class WeightFile:
    """One open weight file; nothing is read before it is asked for."""

    def __init__(self, path: Path) -> None:
        self._name = path.name
        try:
            self._bytes = np.memmap(path, np.uint8, mode="r")
        except (OSError, ValueError) as error:
            raise DamagedArtifact(f"open {path.name}", f"{error}", "copy the whole package again") from error

    def read(self, offset: int, dtype: str, count: int, where: str) -> np.ndarray:
        """The `count` values of a MIL type that the record at `offset` describes, as an array of our own.

        Raises: DamagedArtifact when there is no such record, or it says something else.
        """
        if offset % 64 or offset + _RECORD.size > len(self._bytes):
            raise self._damaged(where, f"no record at offset {offset} of {len(self._bytes)} bytes")
        mark, kind, size, start, _ = _RECORD.unpack(self._bytes[offset : offset + _RECORD.size].tobytes())
        if mark != _MARK:
            raise self._damaged(where, f"what stands at offset {offset} is no record")
        if _TYPES.get(kind) != dtype:
            raise self._damaged(where, f"the record says {_TYPES.get(kind, kind)}, the program {dtype}")
        needed = packed_bytes(dtype, count)
        if size != needed or start + size > len(self._bytes):
            found = f"{size} bytes at {start} of {len(self._bytes)}, where {count} values of {dtype} take {needed}"
            raise self._damaged(where, found)
        return unpack(self._bytes[start : start + size], dtype, count)

    def _damaged(self, where: str, found: str) -> DamagedArtifact:
        return DamagedArtifact(f"read {where} from {self._name}", found, "copy the whole package again")


def packed_bytes(dtype: str, count: int) -> int:
    """The bytes that `count` values of a MIL type take."""
    if dtype in SUB_BYTE:
        return (SUB_BYTE[dtype] * count + 7) // 8
    return np.dtype(NUMPY[dtype]).itemsize * count


def unpack(raw: np.ndarray, dtype: str, count: int) -> np.ndarray:
    """The values in packed bytes. Shape: uint8 (bytes,) -> (count,)."""
    if dtype not in SUB_BYTE:
        return np.frombuffer(raw.tobytes(), NUMPY[dtype]).copy()
    width = SUB_BYTE[dtype]
    if width == 4:  # the frequent case, without a byte a bit
        values = np.stack([raw & 15, raw >> 4], axis=-1).reshape(-1)[:count]
    else:
        bits = np.unpackbits(raw, bitorder="little")[: width * count].reshape(count, width)
        values = (bits << np.arange(width, dtype=np.uint8)).sum(axis=1, dtype=np.uint8)
    if dtype == "int4":
        return ((values ^ 8).astype(np.int8) - 8).astype(np.int8)
    return np.ascontiguousarray(values)
