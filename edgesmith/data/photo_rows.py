"""The pictures of a list, in its order, in bounded memory; those that cannot be read are left out and named."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from edgesmith import records
from edgesmith.artifact import content_key
from edgesmith.data.images import decode, squish
from edgesmith.data.pixels import store
from edgesmith.errors import DamagedArtifact, MissingResource

Named = tuple[int, Path | bytes]  # the row of a picture, and where or what it is


@dataclass(frozen=True)
class PhotoRows:
    """Pictures (n, H, W, 3) uint8, the row of the list each one has, and the rows that could not be read."""

    images: np.ndarray
    rows: np.ndarray
    skipped: tuple[int, ...]


@dataclass
class _Reading:
    """One pass over the pictures: what was read, in which order, and what was not."""

    rows: list[int] = field(default_factory=list)
    skipped: list[int] = field(default_factory=list)


def read_photos(
    names: tuple[str, ...],
    content: Callable[[], Iterable[Named]],
    size: tuple[int, int],
    key: object,
    strict: bool,
    cache: Path | None,
    memory_gb: float,
) -> PhotoRows:
    """Decode and squish the pictures that `content` gives, each with its row of `names`.

    A row that never comes, or comes damaged, is skipped, or refused when `strict`. With `cache` the pixels lie in
    that file and memory holds what is being read. Rows come in the order of `content`.
    Raises: DamagedArtifact naming the picture, MissingResource when none can be read, UsageError (memory).
    """
    reading, note = _Reading(), None if cache is None else cache.with_suffix(".rows.json")
    whole = content_key("photo rows", key, list(names), size)
    if cache is not None and note is not None and not note.is_file():
        cache.with_suffix(".key").unlink(missing_ok=True)  # pixels without their rows say nothing
    images = store(len(names), size, lambda: _filled(names, content, size, strict, reading), whole, cache, memory_gb)
    if note is not None:
        if reading.rows:
            records.write_bytes(note, json.dumps([reading.rows, reading.skipped]).encode())
        else:
            reading = _noted(note)
    if not reading.rows:
        raise MissingResource("read the pictures", f"none of {len(names)} can be read", "check the folder of pictures")
    return PhotoRows(images[: len(reading.rows)], np.array(reading.rows), tuple(sorted(reading.skipped)))


def _noted(note: Path) -> _Reading:
    try:
        rows, skipped = json.loads(note.read_bytes())
        return _Reading(list(rows), list(skipped))
    except (ValueError, TypeError) as error:
        raise DamagedArtifact(f"read {note}", str(error), "delete it, it is made again") from error


def _filled(
    names: tuple[str, ...], content: Callable[[], Iterable[Named]], size: tuple[int, int], strict: bool, told: _Reading
) -> Iterator[np.ndarray]:
    """The readable pictures, then black ones in the places that stay empty."""
    told.rows.clear()
    told.skipped.clear()
    for row, source in content():
        try:
            picture = squish(decode(source, names[row]), size)
        except DamagedArtifact:
            if strict:
                raise
            continue
        told.rows.append(row)
        yield picture
    told.skipped += sorted(set(range(len(names))) - set(told.rows))
    if strict and told.skipped:
        name = names[told.skipped[0]]
        raise DamagedArtifact(f"read image {name}", "it is not there", "fetch it, or take it off the list")
    for _ in told.skipped:
        yield np.zeros((*size, 3), np.uint8)
