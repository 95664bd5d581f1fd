"""What a frozen teacher says about every training sample, computed once and read back from disk.

Only where a sample always looks the same, or is its own mirror image: augmentation "none" or "flip".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from edgesmith import artifact
from edgesmith.compress.ranks import ranks
from edgesmith.compress.tap import tapped
from edgesmith.compress.task import Batch, Source
from edgesmith.data.split import digest
from edgesmith.errors import DamagedArtifact, MissingResource, UsageError

FOLDER = "teacher-cache"
KIND = "teacher"


class Answer(NamedTuple):
    """What a teacher says about a batch, as far as it does: `features` are the output of a layer inside it."""

    embedding: Tensor | None = None
    logits: Tensor | None = None
    features: Tensor | None = None


@dataclass(frozen=True)
class TeacherCache:
    """Memory-mapped tables with one row a sample, and one more for each mirror image where samples are flipped."""

    count: int
    embedding: np.ndarray | None
    logits: np.ndarray | None
    features: np.ndarray | None = None

    def answer(self, batch: Batch) -> Answer:
        """What the teacher says about a batch. Raises: UsageError when it has no row numbers."""
        if batch.rows is None or batch.mirrored is None:
            raise UsageError("read the teacher's cache", "no row numbers of the samples", "train by fit()")
        rows = (batch.rows + self.count * batch.mirrored).cpu().numpy()
        device = batch.rows.device
        tables = (self.embedding, self.logits, self.features)
        return Answer(*(None if t is None else torch.from_numpy(np.array(t[rows])).to(device) for t in tables))


def ask(teacher: nn.Module, batch: Batch, tap: str = "") -> Answer:
    """A teacher's embedding and logits, as far as it gives them, and the output of the layer `tap`, if one is named."""
    with tapped(teacher, tap) as features:
        if callable(getattr(teacher, "embed", None)):
            z = teacher.embed(*batch.inputs)  # type: ignore[operator]
            head = getattr(teacher, "head", None)
            logits = head(z) if head is not None else None if hasattr(teacher, "head") else teacher(*batch.inputs)
        else:
            z, logits = None, teacher(*batch.inputs)
    return Answer(z, logits, features[0] if features else None)


def open_cache(teacher: nn.Module, ask: Callable[[Batch], Answer], source: Source, tap: str = "") -> TeacherCache:
    """The cache of this teacher on these samples, made first if it is not there or damaged.

    Its key covers the teacher's structure and weights, the samples with their preparation, whether they are flipped,
    and the layer `tap` whose output `ask` adds. Raises: UsageError for another augmentation, MissingResource on a full
    disk.
    """
    if source.augment not in ("none", "flip"):
        found = f"augment {source.augment!r} makes a sample look different every time"
        raise UsageError("cache the teacher", found, 'say augment "none" or "flip", or leave cache out')
    weights = digest({name: value.cpu().numpy() for name, value in teacher.state_dict().items()})
    key = artifact.content_key(repr(teacher), weights, source.digest, source.augment, *([tap] if tap else []))
    folder = source.folder / FOLDER / key[:16]
    with ranks().first():  # the others find it there
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
    paths = (folder / f"{name}.npy" for name in Answer._fields)
    return TeacherCache(count, *(np.load(path, mmap_mode="r") if path.exists() else None for path in paths))


def _write(folder: Path, ask: Callable[[Batch], Answer], source: Source) -> None:
    tables: dict[str, np.memmap] = {}
    start, total = 0, source.count * (2 if source.augment == "flip" else 1)
    for batch in _batches(source):
        with torch.no_grad():
            answers = ask(batch)
        for name, value in answers._asdict().items():
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
