"""Decoded pictures in memory, or in a memory-mapped file when they are more than memory takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from edgesmith import records
from edgesmith.errors import DamagedArtifact, MissingResource, UsageError

GIB = 1 << 30


def store(
    count: int,
    size: tuple[int, int],
    fill: Callable[[], Iterable[np.ndarray]],
    key: str,
    cache: Path | None = None,
    memory_gb: float = 8.0,
) -> np.ndarray:
    """The pictures that `fill` gives, one after the other. Shape: uint8 (count, H, W, 3).

    With `cache` (a file ending in .npy) they are written there once; later calls with the same `key` only map it, so
    that memory holds what is being read. Changes made to the array never reach the file.
    Raises: UsageError when they need more than `memory_gb` and no cache is given; MissingResource for a full disk.
    """
    needed = count * size[0] * size[1] * 3
    if cache is None:
        if needed > memory_gb * GIB:
            todo = "give cache=FILE.npy (a disk with that much room), a smaller part, or a larger memory_gb"
            raise UsageError(f"hold {count} pictures in memory", f"{needed / GIB:.1f} GiB of pixels", todo)
        return _filled(np.empty((count, *size, 3), np.uint8), fill())
    if cache.suffix != ".npy":
        raise UsageError(f"cache pixels in {cache}", f"suffix {cache.suffix!r}", "let its name end in .npy")
    note = cache.with_suffix(".key")
    if not (cache.is_file() and note.is_file() and note.read_text() == key):
        note.unlink(missing_ok=True)
        try:
            mapped = np.lib.format.open_memmap(cache, "w+", np.uint8, (count, *size, 3))
            _filled(mapped, fill())
            mapped.flush()
        except OSError as error:
            raise MissingResource(f"cache pixels in {cache}", f"{error}", f"make room: {needed} bytes") from error
        records.write_bytes(note, key.encode())
    return _mapped(cache, (count, *size, 3))


def _filled(images: np.ndarray, found: Iterable[np.ndarray]) -> np.ndarray:
    done = 0
    for done, image in enumerate(found, 1):
        images[done - 1] = image
    if done != len(images):
        raise DamagedArtifact(f"decode {len(images)} pictures", f"only {done} came", "check that the files stay")
    return images


def _mapped(cache: Path, shape: tuple[int, ...]) -> np.ndarray:
    try:
        images = np.lib.format.open_memmap(cache, "c")
    except (ValueError, EOFError) as error:
        raise DamagedArtifact(f"map {cache}", str(error), "delete it, it is made again") from error
    if images.shape != shape or images.dtype != np.uint8:
        raise DamagedArtifact(f"map {cache}", f"{images.dtype} {images.shape}", "delete it, it is made again")
    return images
