"""Pictures with several labels each, some of them perhaps not annotated, in the formats of label_formats.py."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np

from edgesmith.data.archive import pictures
from edgesmith.data.images import need_preprocessing
from edgesmith.data.label_facts import LabelTable, table
from edgesmith.data.label_formats import FORMATS
from edgesmith.data.partial_labels import hidden
from edgesmith.data.photo_rows import Named, read_photos
from edgesmith.data.split import Data, Evaluation, Split, digest, sample_rows
from edgesmith.errors import MissingResource, UntrustedFile, UsageError
from edgesmith.tensors import Preprocessing

FormatName = Literal["labels.json", "coco", "open-images", "voc", "nus-wide"]


@dataclass(frozen=True)
class _Reader:
    """What both parts are read with."""

    preprocessing: Preprocessing
    drop_empty: bool
    limit: int | None
    strict: bool
    memory_gb: float
    seed: int

    def read(self, labels: LabelTable, source: Path, cache: Path | None) -> tuple[Split, tuple[str, ...]]:
        """The pictures of a label table, and the names of those that cannot be read."""
        if not source.exists():
            raise MissingResource(f"read pictures of {source}", "no such folder or archive", "check root and images")
        rows = np.arange(len(labels.images))
        if self.drop_empty:
            rows = rows[(labels.labels == 1).any(1)]
            if not len(rows):
                what = f"none of {len(labels.images)} images has a label of these classes"
                raise UsageError(f"read the labels of {source.parent}", what, "say empty: keep, or check the classes")
        if self.limit is not None and self.limit < len(rows):
            rows = rows[sample_rows(len(rows), self.limit, self.seed)]
        chosen = labels.take(rows)
        state = source.stat()
        found = read_photos(
            chosen.images,
            lambda: _content(source, chosen.images),
            self.preprocessing.size,
            (source.name, state.st_size if source.is_file() else 0, state.st_mtime_ns),
            self.strict,
            cache,
            self.memory_gb,
        )
        names = tuple(chosen.images[row] for row in found.rows)
        split = Split({"image": found.images}, chosen.labels[found.rows], names)
        return split, tuple(chosen.images[row] for row in found.skipped)


def load(
    preprocessing: Preprocessing | None,
    root: str | Path = "",
    format: FormatName = "labels.json",
    train: str = "",
    images: str = "",
    evaluation: str = "",
    evaluation_images: str = "",
    classes: Sequence[str] = (),
    partial: str = "",
    empty: Literal["keep", "drop"] = "keep",
    calibration: int = 300,
    holdout: float = 0.2,
    limit: int | None = None,
    strict: bool = False,
    cache: str = "",
    memory_gb: float = 8.0,
    seed: int = 0,
) -> Data:
    """Read the parts `train` and `evaluation` of a data set, pictures squished to the preprocessing's size.

    Names of parts, and of the folder or .tar of `images`, are those of the format where none are given; without
    `evaluation` a share `holdout` of the images is held out. `classes` picks and orders classes. Labels are 1 there,
    0 not there, -1 not annotated; `partial` ("fpc:1000", "rps:0.5") hides some of the training labels. An image
    without any positive label is a sample like others, unless `empty` drops it. Unreadable pictures are skipped and
    named in Data.skipped, or refused when `strict`. `limit` takes a seeded part; `cache` (FILE.npy) holds the
    training pixels of sets larger than memory, and needs `evaluation`.
    Raises: UsageError, MissingResource, UntrustedFile, DamagedArtifact.
    """
    preprocessing, top = need_preprocessing(preprocessing, f"labels of {root or '(none)'}"), Path(root)
    if format not in FORMATS:
        raise UsageError(f"labels in the format {format!r}", "no such format", f"choose one of: {', '.join(FORMATS)}")
    if not str(root) or not top.is_dir():
        raise MissingResource(f"load labels of {root or '(none)'}", "no such folder", "give root=FOLDER")
    if cache and not evaluation:
        raise UsageError(f"load {root} through a cache", "no part to judge by", "give evaluation=PART")
    known, reader = FORMATS[format], _Reader(preprocessing, empty == "drop", limit, strict, memory_gb, seed)
    folder = top / (images or known.images)
    labels = table(known.read(top, train or known.part), classes)
    whole, skipped = reader.read(labels, folder, Path(cache) if cache else None)
    asked = None
    if evaluation:
        other = table(known.read(top, evaluation), classes, labels.classes)
        asked, more = reader.read(other, top / evaluation_images if evaluation_images else folder, None)
        skipped += more
    return multilabel_data(
        f"{format} {top.name}",
        whole,
        asked,
        preprocessing,
        labels.classes,
        partial,
        holdout,
        calibration,
        seed,
        skipped,
    )


def multilabel_data(
    name: str,
    whole: Split,
    asked: Split | None,
    preprocessing: Preprocessing | None,
    classes: Sequence[str],
    partial: str = "",
    holdout: float = 0.2,
    calibration: int = 300,
    seed: int = 0,
    skipped: Sequence[str] = (),
) -> Data:
    """Cut labelled pictures into train, calibration (a part of train) and evaluation ("multilabel").

    Without `asked`, `holdout` of the images are judged by, whatever their labels: with 1 there is no training part.
    `partial` hides training labels, never those judged by. Raises: UsageError.
    """
    if not 0.0 <= holdout <= 1.0:
        raise UsageError("hold out a share of the data", f"share {holdout}", "give a number from 0 to 1")
    train: Split | None = whole
    if asked is None:
        held = np.sort(np.random.default_rng(seed).permutation(len(whole))[: round(holdout * len(whole))])
        kept = np.setdiff1d(np.arange(len(whole)), held)
        train, asked = (whole.take(kept) if len(kept) else None), whole.take(held) if len(held) else None
    source = train or whole
    chosen = source.take(sample_rows(len(source), calibration, seed))
    if train is not None and partial:
        train = Split(train.inputs, hidden(_table_of(train), partial, seed), train.names)
    evaluation = Evaluation(asked, "multilabel", {"labels": _table_of(asked)}) if asked else None
    found = digest(train, chosen, asked)
    return Data(name, found, preprocessing, tuple(classes), train, chosen, evaluation, tuple(skipped))


def _table_of(split: Split) -> np.ndarray:
    if split.labels is None:
        raise UsageError("multi-label data", "the samples have no labels", "give labels")
    return split.labels


def _content(source: Path, names: tuple[str, ...]) -> Iterator[Named]:
    """Every picture of the list that is there: of a folder in the order of the list, of a .tar in its own."""
    row_of = {name: row for row, name in enumerate(names)}
    for name in names:
        if name.startswith("/") or ".." in PurePosixPath(name).parts:
            raise UntrustedFile(f"read pictures of {source}", f"{name!r} points outside", "correct the list")
    if source.is_dir():
        yield from ((row, source / name) for row, name in enumerate(names) if (source / name).is_file())
        return
    for name, content in pictures(source, set(names)):
        yield row_of[name], content
