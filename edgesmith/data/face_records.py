"""A face training set as InsightFace passes it on: train.rec with train.idx, and .bin files of verification pairs.

The faces must lie on ArcFace's 112 x 112 template, as in the public sets.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from edgesmith.artifact import content_key
from edgesmith.data.faces import fitted
from edgesmith.data.images import decode, need_preprocessing
from edgesmith.data.pair_lists import contiguous_folds
from edgesmith.data.pixels import store
from edgesmith.data.recordio import RecordFile, open_records
from edgesmith.data.split import Data, Evaluation, Split, digest, sample_rows
from edgesmith.data.verification_bin import read_bin
from edgesmith.errors import DamagedArtifact, UsageError
from edgesmith.tensors import Preprocessing


def load(
    preprocessing: Preprocessing | None,
    root: str | Path = "",
    folder: str = "",
    verify: str = "lfw.bin",
    folds: int = 10,
    calibration: int = 300,
    identities: int | None = None,
    cache: str = "",
    memory_gb: float = 8.0,
    seed: int = 0,
) -> Data:
    """Train on train.rec, judge by the pairs of `verify` (a .bin file beside it; "" for none), calibrate on training
    faces.

    `identities` keeps the first so many people. Pixels are decoded into memory, or once into `cache` (FILE.npy) for
    sets larger than that. A .bin file does not say who is on its pictures: rates over all pairs are left out.
    Raises: UsageError, MissingResource, UntrustedFile, DamagedArtifact.
    """
    preprocessing = need_preprocessing(preprocessing, f"faces-rec {root or '(none)'}")
    top = Path(root) / folder
    records = open_records(top / "train.rec")
    rows, labels = _people(records, identities)
    names, numbers = np.unique(labels, return_inverse=True)
    size = preprocessing.size
    stat = records.path.stat()
    key = content_key("faces-rec", stat.st_size, stat.st_mtime_ns, size, identities)
    images = store(len(rows), size, lambda: _faces(records, rows, size), key, Path(cache) if cache else None, memory_gb)
    train = Split({"image": images}, numbers.reshape(-1).astype(np.int64))
    chosen = train.take(sample_rows(len(train), calibration, seed))
    evaluation = _pairs(top / verify, size, folds) if verify else None
    found = digest(train, chosen, *((evaluation.split, evaluation.arrays) if evaluation else ()))
    classes = tuple(f"{name:g}" for name in names)
    return Data(f"faces-rec {top.name}", found, preprocessing, classes, train, chosen, evaluation)


def _people(records: RecordFile, identities: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the index that hold faces, and the label of each."""
    asked = f"load faces {records.path}"
    if not len(records):
        raise DamagedArtifact(asked, "its index is empty", "fetch it again")
    with records.path.open("rb") as file:
        first = records.read_row(0, file)
        # A face set opens with a record of two numbers: faces have the keys below the first, people those after it.
        if len(first.labels) == 2 and not first.image:
            rows = np.flatnonzero((records.keys > 0) & (records.keys < first.labels[0]))
        else:
            rows = np.arange(len(records))
        labels = np.array([records.label(int(row), file) for row in rows], np.float64)
    if identities is not None:
        if identities < 1:
            raise UsageError(asked, f"{identities} identities", "ask for one at least")
        kept = np.isin(labels, np.unique(labels)[:identities])
        rows, labels = rows[kept], labels[kept]
    if not len(rows):
        raise DamagedArtifact(asked, "no faces in it", "fetch it again")
    return rows, labels


def _faces(records: RecordFile, rows: np.ndarray, size: tuple[int, int]) -> Iterator[np.ndarray]:
    with records.path.open("rb") as file:
        for row in rows:
            name = f"{records.path.name}:{records.keys[row]}"
            yield fitted(decode(records.read_row(int(row), file).image, name), name, size)


def _pairs(path: Path, size: tuple[int, int], folds: int) -> Evaluation:
    found = read_bin(path)
    count = len(found.pictures)
    images = np.empty((2 * count, *size, 3), np.uint8)
    names = tuple(f"{path.name}:{index}" for index in range(count))
    for index, (name, content) in enumerate(zip(names, found.pictures)):
        images[index] = fitted(decode(content, name), name, size)
    images[count:] = images[:count, :, ::-1]
    arrays = {
        "pairs": np.arange(count, dtype=np.int64).reshape(-1, 2),
        "same": found.same,
        "fold": contiguous_folds(len(found.same), folds).astype(np.int64),
        # One number for all: nobody is known to be a stranger but in the pairs themselves.
        "person": np.zeros(count, np.int64),
    }
    shown = names + tuple(f"{name}:mirror" for name in names)
    return Evaluation(Split({"image": images}, None, shown), "verification", arrays)
