"""MXNet's RecordIO files (.rec with .idx), read without MXNet: the form in which face training sets are passed on.

A record is a magic number, a word of 3 flag bits and 29 bits of length, the payload, and zeros up to 4 bytes. A payload
that holds the magic number at a multiple of 4 was cut there, and the parts are joined again by it.
Source: dmlc-core's recordio.h; the image header is MXNet's IRHeader.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from edgesmith.errors import DamagedArtifact, MissingResource

MAGIC = struct.pack("<I", 0xCED7230A)
WHOLE, START, MIDDLE, END = range(4)
HEADER = struct.Struct("<IfQQ")  # number of labels (0: the one label that follows), label, id, second id
LARGEST_RECORD = 1 << 28
MOST_LABELS = 1 << 12


@dataclass(frozen=True)
class Record:
    """One sample: its labels, its id, and the bytes of its picture (none in the record that opens a face set)."""

    labels: tuple[float, ...]
    id: int
    image: bytes


@dataclass(frozen=True)
class RecordFile:
    """The keys of a .rec file and where their records begin, both in the order of the index."""

    path: Path
    keys: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.keys)

    def read(self, key: int, file: BinaryIO | None = None) -> Record:
        """The record of one key. Raises: DamagedArtifact naming it."""
        rows = np.flatnonzero(self.keys == key)
        if not len(rows):
            raise DamagedArtifact(f"read {self.path}", f"the index has no key {key}", "fetch both files again")
        return self.read_row(int(rows[0]), file)

    def read_row(self, row: int, file: BinaryIO | None = None) -> Record:
        """The record of one row of the index; `file` is self.path, opened by a caller who reads many."""
        if file is None:
            with self.path.open("rb") as opened:
                return self.read_row(row, opened)
        file.seek(int(self.offsets[row]))
        return _unpacked(_payload(file, self.path, int(self.keys[row])), self.path, int(self.keys[row]))

    def label(self, row: int, file: BinaryIO) -> float:
        """The first label of one row; of a record with a single label only the beginning is read."""
        file.seek(int(self.offsets[row]))
        head = file.read(8 + HEADER.size)
        if len(head) == 8 + HEADER.size and head[:4] == MAGIC:
            count, label, _, _ = HEADER.unpack_from(head, 8)
            if not count and struct.unpack_from("<I", head, 4)[0] & ((1 << 29) - 1) >= HEADER.size:
                return float(label)
        return self.read_row(row, file).labels[0]


def open_records(rec: Path, idx: Path | None = None) -> RecordFile:
    """Read the index of a .rec file ("key<TAB>offset" lines). Raises: MissingResource, DamagedArtifact."""
    idx = idx or rec.with_suffix(".idx")
    for path in (rec, idx):
        if not path.is_file():
            raise MissingResource(f"read records {rec}", f"no {path.name}", "give the .rec and the .idx file")
    try:
        table = np.array([line.split() for line in idx.read_text().splitlines() if line.strip()], np.int64)
        keys, offsets = table.T if len(table) else (np.zeros(0, np.int64),) * 2
    except (ValueError, UnicodeDecodeError, OverflowError) as error:
        raise DamagedArtifact(f"read index {idx}", f"not 'key offset' lines ({error})", "fetch it again") from error
    if len(offsets) and (offsets.min() < 0 or offsets.max() >= rec.stat().st_size):
        found = f"offsets from {offsets.min()} to {offsets.max()}, {rec.name} has {rec.stat().st_size} bytes"
        raise DamagedArtifact(f"read index {idx}", found, "fetch both files again")
    return RecordFile(rec, keys, offsets)


def _payload(file: BinaryIO, path: Path, key: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        flag, part = _part(file, path, key)
        size += len(part) + len(MAGIC)
        if (flag in (MIDDLE, END)) != bool(parts) or size > LARGEST_RECORD:
            raise _damaged(path, key, "parts in a wrong order, or too many of them")
        parts.append(part)
        if flag in (WHOLE, END):
            return MAGIC.join(parts)


def _part(file: BinaryIO, path: Path, key: int) -> tuple[int, bytes]:
    head = file.read(8)
    if len(head) < 8 or head[:4] != MAGIC:
        raise _damaged(path, key, "no magic number where it begins")
    word = struct.unpack("<I", head[4:])[0]
    flag, length = word >> 29, word & ((1 << 29) - 1)
    if flag > END or length > LARGEST_RECORD:
        raise _damaged(path, key, f"flag {flag}, {length} bytes")
    padded = file.read(length + -length % 4)
    if len(padded) < length:
        raise _damaged(path, key, f"{len(padded)} of {length} bytes")
    return flag, padded[:length]


def _unpacked(payload: bytes, path: Path, key: int) -> Record:
    if len(payload) < HEADER.size:
        raise _damaged(path, key, "shorter than its header")
    count, label, identity, _ = HEADER.unpack_from(payload)
    body = payload[HEADER.size :]
    if not count:
        return Record((label,), identity, body)
    if count > MOST_LABELS or len(body) < 4 * count:
        raise _damaged(path, key, f"{count} labels in {len(body)} bytes")
    return Record(struct.unpack_from(f"<{count}f", body), identity, body[4 * count :])


def _damaged(path: Path, key: int, found: str) -> DamagedArtifact:
    return DamagedArtifact(f"read {path}", f"record {key}: {found}", "fetch both files again")


def packed(labels: Sequence[float], image: bytes, identity: int = 0) -> bytes:
    """One record as bytes, for writing small sets; a single label goes into the header."""
    count = 0 if len(labels) == 1 else len(labels)
    extra = struct.pack(f"<{count}f", *labels) if count else b""
    payload = HEADER.pack(count, 0.0 if count else labels[0], identity, 0) + extra + image
    cuts = [at for at in range(0, len(payload) - 3, 4) if payload[at : at + 4] == MAGIC]
    starts, ends = [0, *[cut + 4 for cut in cuts]], [*cuts, len(payload)]
    flags = [WHOLE] if not cuts else [START, *[MIDDLE] * (len(cuts) - 1), END]
    parts = [payload[start:end] for start, end in zip(starts, ends)]
    return b"".join(
        MAGIC + struct.pack("<I", flag << 29 | len(part)) + part + bytes(-len(part) % 4)
        for flag, part in zip(flags, parts)
    )


def write_records(rec: Path, records: Sequence[tuple[Sequence[float], bytes]]) -> None:
    """Write (labels, picture) samples as a .rec file and its .idx, keys from 0."""
    offset, lines = 0, []
    with rec.open("wb") as file:
        for key, (labels, image) in enumerate(records):
            lines.append(f"{key}\t{offset}")
            offset += file.write(packed(labels, image, key))
    rec.with_suffix(".idx").write_text("\n".join(lines) + "\n")
