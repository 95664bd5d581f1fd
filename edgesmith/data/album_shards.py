"""WebDataset shards of photo albums: an album is a sample, or a folder of samples, beside its label.

    w1.000.jpg  w1.001.jpg  w1.json      one sample, whose photos differ in their extension
    w1/000.jpg  w1/001.jpg  w1.json      photos that share the folder of their names

Read one after the other, nothing unpacked. The layout of samples is that of shards.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from edgesmith.data.album_rows import Albums, Sampling, album_data, check_album_options, chosen, held_out
from edgesmith.data.albums import events_of, read_albums
from edgesmith.data.archive import opened, pictures, plain_files
from edgesmith.data.label_formats import mentioned
from edgesmith.data.shards import PICTURES, parts_of, shard_paths
from edgesmith.data.split import Data
from edgesmith.errors import DamagedArtifact, MissingResource, UsageError
from edgesmith.tensors import Preprocessing


def load(
    preprocessing: Preprocessing | None = None,
    root: str | Path = "",
    shards: str = "*.tar",
    evaluation: str = "",
    classes: str | Sequence[str] = (),
    label: str = "json",
    photos: int = 16,
    pool: int = 64,
    size: int = 64,
    sampling: Sampling = "uniform",
    calibration: int = 64,
    holdout: float = 0.2,
    strict: bool = False,
    seed: int = 0,
) -> Data:
    """Read albums from the shards that match, as the data set "albums" does from folders.

    `label` is the extension of an album's label, in JSON: one event (a name of `classes`, or a number from 0, so a
    .cls will do), or several as [events] or {"positive": [...], "negative": [...]}, where what is in neither list is
    not annotated (-1); "importance": {photo: score} may stand beside these lists, photos by what follows the album's
    name ("000.jpg"). `classes` "cufed" are its 23 events. Without any label the albums ask for agreement.
    `evaluation` names other shards to judge by; else a share `holdout` of the albums is held out. A corrupt photo, an
    album without photos or without a label, is skipped and named in Data.skipped, or refused when `strict`.
    Raises: UsageError, MissingResource, DamagedArtifact, UntrustedFile.
    """
    check_album_options(preprocessing, photos, pool)
    if not str(root):
        raise MissingResource("load shards of albums", "no folder was named", "give root=FOLDER")
    names, title = events_of(classes), f"shards of albums {Path(root).name}"
    reader = _Reader(title, names, label, pool, size, strict, np.random.default_rng(seed))
    train, skipped = reader.read(shard_paths(Path(root), shards))
    if evaluation:
        judged, more = reader.read(shard_paths(Path(root), evaluation))
        if len({None if part.labels is None else part.labels.ndim for part in (train, judged)}) > 1:
            found = f"labels of shards {evaluation} are of another kind than those of {shards}"
            raise UsageError(f"load {title}", found, "give both one event an album, or both a list")
        skipped += more
        return album_data(title, train, judged, names, photos, sampling, calibration, seed, tuple(skipped))
    learnt, held = held_out(train, holdout, seed)
    return album_data(title, learnt, held, names, photos, sampling, calibration, seed, tuple(skipped))


@dataclass(frozen=True)
class _Reader:
    """What both parts are read with."""

    title: str
    classes: tuple[str, ...]
    label: str
    pool: int
    size: int
    strict: bool
    rng: np.random.Generator

    def read(self, shards: list[Path]) -> tuple[Albums, list[str]]:
        """The albums of the shards that can be used, and the names of what cannot."""
        listed = _listed(shards, self.label)
        if not listed.photos:
            raise MissingResource(f"load {self.title}", "no photos in them", "check the shards")
        skipped = [f"{album} (no photos)" for album in listed.labels if album not in listed.photos]
        if listed.labels:
            skipped += [f"{album} (no .{self.label})" for album in listed.photos if album not in listed.labels]
        if self.strict and skipped:
            raise UsageError(f"load {self.title}", f"unusable: {', '.join(skipped[:5])}", "mend or remove them")
        kept = {album: names for album, names in listed.photos.items() if album in listed.labels or not listed.labels}
        wanted = {
            album: [names[row] for row in sorted(chosen(len(names), self.pool, "rand_permute", self.rng))]
            for album, names in kept.items()
        }
        labels, importance = self._labels({album: listed.labels[album] for album in kept if album in listed.labels})
        every = set(chain.from_iterable(wanted.values()))
        content = chain.from_iterable(pictures(shard, every) for shard in shards)
        albums, broken = read_albums(self.title, content, wanted, labels, importance, self.size, self.strict)
        return albums, skipped + broken

    def _labels(self, said: dict[str, bytes]) -> tuple[dict[str, Any], dict[str, float] | None]:
        """Album -> event number or a row of 1, 0 and -1; photo -> importance, where any album tells it."""
        entries = {album: _json(album, text, self.label) for album, text in said.items()}
        importance: dict[str, float] = {}
        for album, entry in entries.items():
            if isinstance(entry, dict) and "importance" in entry:
                importance |= _importance(album, entry.pop("importance"))
        single = [not isinstance(entry, (list, dict)) for entry in entries.values()]
        if any(single) and not all(single):
            found = "some albums have one event, others a list"
            raise DamagedArtifact(f"load {self.title}", found, "write a list for all of them")
        if entries and not self.classes:
            raise UsageError(f"load {self.title}", "nothing says which events there are", "give classes=[...]")
        rows = {
            album: self._row(album, [entry] if all(single) else entry, all(single)) for album, entry in entries.items()
        }
        return rows, importance or None

    def _row(self, album: str, entry: Any, single: bool) -> Any:
        """The number of the one event, or 1, 0 and -1 for each of them; where two contradict, the larger counts."""
        pairs, rest = mentioned(f"of album {album}", entry, self.classes)
        row = np.full(len(self.classes), rest, np.int8)
        for event, value in sorted(pairs, key=lambda pair: pair[1]):
            row[self.classes.index(event)] = value
        return int(row.argmax()) if single else row


@dataclass(frozen=True)
class _Listed:
    """Album -> names of its photos, sorted; album -> what its label says."""

    photos: dict[str, list[str]] = field(default_factory=dict)
    labels: dict[str, bytes] = field(default_factory=dict)


def _listed(shards: Sequence[Path], label: str) -> _Listed:
    found, seen = _Listed(), set[str]()
    for name, extension, read in _members(shards):
        if name in seen:
            raise DamagedArtifact("read shards of albums", f"{name} comes twice", "make the shards again")
        seen.add(name)
        stem, last = name.removeprefix("./"), extension.rpartition(".")[2]
        album = stem[: len(stem) - len(extension) - 1]
        if extension == label:
            found.labels[album] = read()
        elif last in PICTURES:
            folder = album if "." in extension else album.rpartition("/")[0]
            if not folder:
                todo = "call photos ALBUM.000.jpg or ALBUM/000.jpg"
                raise DamagedArtifact("read shards of albums", f"{name} belongs to no album", todo)
            found.photos.setdefault(folder, []).append(name)
    for names in found.photos.values():
        names.sort()
    return found


def _members(shards: Sequence[Path]) -> Iterator[tuple[str, str, Any]]:
    """(name, extension in lower case, how to read it) of all files that can be part of a sample."""
    for shard in shards:
        with opened(shard) as tar:
            for member in plain_files(tar, shard):
                stem, extension = parts_of(member.name)
                if extension and stem.rpartition("/")[2]:
                    yield member.name, extension, lambda tar=tar, member=member: tar.extractfile(member).read()


def _json(album: str, text: bytes, label: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DamagedArtifact(f"read album {album}", f".{label} is not JSON", "make the shards again") from error


def _importance(album: str, scores: Any) -> dict[str, float]:
    """Photo by both names it can have -> score."""
    try:
        given = {str(photo): float(score) for photo, score in scores.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise DamagedArtifact(f"read album {album}", f"importance: {error}", "write {photo: number}") from error
    return {f"{album}{mark}{photo}": score for photo, score in given.items() for mark in "./"}
