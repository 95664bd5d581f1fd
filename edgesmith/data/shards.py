"""WebDataset shards: tar archives in which files with one stem are a sample ("000012.jpg", "000012.cls").

Read one after the other, nothing unpacked. Source: the WebDataset format (github.com/webdataset/webdataset).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgesmith.artifact import content_key
from edgesmith.data.archive import opened, plain_files
from edgesmith.data.images import SUFFIXES, decode, need_preprocessing, squish
from edgesmith.data.pixels import store
from edgesmith.data.split import Data, Evaluation, Split, digest, labelled_data, sample_rows, unlabelled_data
from edgesmith.errors import DamagedArtifact, MissingResource, UsageError
from edgesmith.tensors import Preprocessing

PICTURES = tuple(suffix.removeprefix(".") for suffix in SUFFIXES)
BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")


@dataclass(frozen=True)
class Sample:
    """The files of one sample by extension ("jpg", "cls"); key is their common path without it."""

    key: str
    files: Mapping[str, bytes]

    def picture(self) -> bytes:
        """The content of its picture. Raises: DamagedArtifact when it has none."""
        for extension in PICTURES:
            if extension in self.files:
                return self.files[extension]
        raise DamagedArtifact(f"read sample {self.key}", f"no picture in {sorted(self.files)}", "make the shards again")


def shard_paths(root: Path, pattern: str) -> list[Path]:
    """Shards by "train-*.tar" or "train-{000..012}.tar", in order. Raises: MissingResource naming an absent one."""
    if braces := BRACES.search(pattern):
        first, last = braces.groups()
        numbers = [f"{number:0{len(first)}d}" for number in range(int(first), int(last) + 1)]
        found = [root / (pattern[: braces.start()] + number + pattern[braces.end() :]) for number in numbers]
    else:
        found = sorted(root.glob(pattern))
    absent = [path for path in found if not path.is_file()]
    if absent or not found:
        what = f"{absent[0].name} is not there" if absent else f"nothing matches {pattern}"
        raise MissingResource(f"shards of {root}", what, "check root and shards")
    return found


def samples(shards: Sequence[Path], extensions: Sequence[str] | None = None) -> Iterator[Sample]:
    """Every sample of the shards, in their order; memory holds one. `extensions`: the only files to read.

    Raises: UntrustedFile, DamagedArtifact.
    """
    for shard in shards:
        key, files = "", dict[str, bytes]()
        with opened(shard) as tar:
            for member in plain_files(tar, shard):
                stem, extension = parts_of(member.name)
                if not extension or stem.rpartition("/")[2] == "":
                    continue  # hidden files, and what has no extension, are no part of a sample
                if stem != key:
                    if files:
                        yield Sample(key, files)
                    key, files = stem, {}
                if extension in files:
                    raise DamagedArtifact(f"read {shard}", f"{member.name} comes twice", "make the shards again")
                file = tar.extractfile(member) if extensions is None or extension in extensions else None
                files[extension] = file.read() if file else b""
        if files:
            yield Sample(key, files)


def parts_of(name: str) -> tuple[str, str]:
    """The key of a member's sample, and its extension: all that follows the first point of its file's name."""
    folder, slash, file = name.removeprefix("./").rpartition("/")
    stem, _, extension = file.partition(".")
    return folder + slash + stem, extension.lower()


def load(
    preprocessing: Preprocessing | None,
    root: str | Path = "",
    shards: str = "*.tar",
    evaluation: str = "",
    label: str = "cls",
    classes: Sequence[str] = (),
    calibration: int = 300,
    holdout: float = 0.2,
    cache: str = "",
    memory_gb: float = 8.0,
    seed: int = 0,
) -> Data:
    """Read pictures with class numbers from the shards that match, squished to the preprocessing's size.

    `evaluation` names other shards to judge by; without it `holdout` of every class is held out. `label` is the
    extension that holds the class number; samples without it are unlabelled. `cache` (FILE.npy) holds the pixels of
    sets larger than memory; it needs `evaluation` shards, as a part held out is a copy.
    Raises: UsageError, MissingResource, UntrustedFile, DamagedArtifact.
    """
    preprocessing = need_preprocessing(preprocessing, f"shards {root or '(none)'}")
    if cache and not evaluation:
        raise UsageError(f"load shards {root} through a cache", "no shards to judge by", "give evaluation=PATTERN")
    if not str(root):
        raise MissingResource("load shards", "no folder was named", "give root=FOLDER")
    whole = _read(shard_paths(Path(root), shards), preprocessing.size, label, Path(cache) if cache else None, memory_gb)
    asked = (
        _read(shard_paths(Path(root), evaluation), preprocessing.size, label, None, memory_gb) if evaluation else None
    )
    name = f"shards {Path(root).name}"
    if whole.labels is None:
        return unlabelled_data(name, asked or whole, preprocessing, calibration, seed)
    names = _classes(whole, asked, classes)
    if asked is None:
        return labelled_data(name, whole, preprocessing, names, holdout, calibration, seed)
    chosen = whole.take(sample_rows(len(whole), calibration, seed))
    if asked.labels is None:
        raise UsageError(f"load {name}", f"shards {evaluation} have no .{label}", "give labelled shards to judge by")
    judged = Evaluation(asked, "top1", {"labels": asked.labels})
    return Data(name, digest(whole, chosen, asked), preprocessing, names, whole, chosen, judged)


def _read(shards: list[Path], size: tuple[int, int], label: str, cache: Path | None, memory_gb: float) -> Split:
    keys, texts = [], []
    for sample in samples(shards, (label,)):
        sample.picture()  # names the sample now that has none
        keys.append(sample.key)
        texts.append(sample.files.get(label))
    if not keys:
        raise MissingResource(f"load shards {shards[0].parent}", "no samples in them", "check the shards")
    stats = [(shard.name, shard.stat().st_size, shard.stat().st_mtime_ns) for shard in shards]
    key = content_key("shards", stats, size)
    images = store(len(keys), size, lambda: _images(shards, size), key, cache, memory_gb)
    return Split({"image": images}, _labels(keys, texts, label), tuple(keys))


def _images(shards: list[Path], size: tuple[int, int]) -> Iterator[np.ndarray]:
    for sample in samples(shards, PICTURES):
        yield squish(decode(sample.picture(), sample.key), size)


def _labels(keys: list[str], texts: list[bytes | None], label: str) -> np.ndarray | None:
    if all(text is None for text in texts):
        return None
    numbers = []
    for key, text in zip(keys, texts):
        found = (text or b"").strip()
        if not found.isdigit():
            raise DamagedArtifact(f"read sample {key}", f".{label} is {found[:20]!r}", "give each a class number")
        numbers.append(int(found))
    return np.array(numbers, np.int64)


def _classes(whole: Split, asked: Split | None, given: Sequence[str]) -> tuple[str, ...]:
    highest = max(int(split.labels.max()) for split in (whole, asked) if split and split.labels is not None)
    names = tuple(given) or tuple(str(number) for number in range(highest + 1))
    if highest >= len(names):
        raise UsageError(f"shards with {len(names)} classes", f"class number {highest}", "name all classes")
    return names
