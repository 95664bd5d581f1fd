"""What a frozen teacher says about every training sample, computed once and read back from disk.

Only where a sample always looks the same, or is its own mirror image: augmentation "none" or "flip".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from edgesmith import artifact
from edgesmith.compress.task import Batch, Source
from edgesmith.data.split import digest
from edgesmith.errors import DamagedArtifact, MissingResource, UsageError

FOLDER = "teacher-cache"
KIND = "teacher"
Answer = tuple[Tensor | None, Tensor | None]  # embedding, logits


@dataclass(frozen=True)
class TeacherCache:
    """Memory-mapped tables with one row a sample, and one more for each mirror image where samples are flipped."""

    count: int
    embedding: np.ndarray | None
    logits: np.ndarray | None

    def answer(self, batch: Batch) -> Answer:
        """The teacher's embedding and logits of a batch. Raises: UsageError when it has no row numbers."""
        if batch.rows is None or batch.mirrored is None:
            raise UsageError("read the teacher's cache", "no row numbers of the samples", "train by fit()")
        rows = (batch.rows + self.count * batch.mirrored).cpu().numpy()
        device = batch.rows.device
        tables = (self.embedding, self.logits)
        embedding, logits = (None if t is None else torch.from_numpy(np.array(t[rows])).to(device) for t in tables)
        return embedding, logits


def ask(teacher: nn.Module, batch: Batch) -> Answer:
    """A teacher's embedding and logits, as far as it gives them."""
    if not callable(getattr(teacher, "embed", None)):
        return None, teacher(*batch.inputs)
    z = teacher.embed(*batch.inputs)  # type: ignore[operator]
    if not hasattr(teacher, "head"):
        return z, teacher(*batch.inputs)
    return z, None if teacher.head is None else teacher.head(z)  # type: ignore[operator]


def open_cache(teacher: nn.Module, ask: Callable[[Batch], Answer], source: Source) -> TeacherCache:
    """The cache of this teacher on these samples, made first if it is not there or damaged.

    Its key covers the teacher's structure and weights, the samples with their preparation, and whether they are
    flipped. Raises: UsageError for another augmentation, MissingResource on a full disk.
    """
    if source.augment not in ("none", "flip"):
        found = f"augment {source.augment!r} makes a sample look different every time"
        raise UsageError("cache the teacher", found, 'say augment "none" or "flip", or leave cache out')
    weights = digest({name: value.cpu().numpy() for name, value in teacher.state_dict().items()})
    key = artifact.content_key(repr(teacher), weights, source.digest, source.augment)
    folder = source.folder / FOLDER / key[:16]
    cache = _existing(folder, key, source.count)
    if cache is None:
        with artifact.building(folder) as temporary:
            _write(temporary, ask, source)
            artifact.seal(temporary, KIND, key, {"samples": source.count, "augment": source.augment})
        cache = _open(folder, source.count)
    return cache


def _existing(folder: Path, key: str, count: int) -> TeacherCache | None:
    try:
        found = artifact.open_artifact(folder)
    except (MissingResource, DamagedArtifact):
        return None
    return _open(folder, count) if found.key == key else None


def _open(folder: Path, count: int) -> TeacherCache:
    paths = (folder / "embedding.npy", folder / "logits.npy")
    embedding, logits = (np.load(path, mmap_mode="r") if path.exists() else None for path in paths)
    return TeacherCache(count, embedding, logits)


def _write(folder: Path, ask: Callable[[Batch], Answer], source: Source) -> None:
    tables: dict[str, np.memmap] = {}
    start, total = 0, source.count * (2 if source.augment == "flip" else 1)
    for batch in _batches(source):
        with torch.no_grad():
            answers = dict(zip(("embedding", "logits"), ask(batch)))
        for name, value in answers.items():
            if value is None:
                continue
            rows = value.float().cpu().numpy()
            if name not in tables:
                shape = (total, *rows.shape[1:])
                tables[name] = np.lib.format.open_memmap(folder / f"{name}.npy", "w+", np.float32, shape)
            tables[name][start : start + len(rows)] = rows
        start += len(batch)
    for table in tables.values():
        table.flush()


def _batches(source: Source) -> Iterator[Batch]:
    yield from source.in_order()
    if source.augment == "flip":
        yield from source.in_order(mirrored=True)
