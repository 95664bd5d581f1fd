"""WebDataset shards whose samples carry a .json of several labels."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from edgesmith.data.images import need_preprocessing
from edgesmith.data.label_facts import Facts, LabelTable, table
from edgesmith.data.label_formats import mentioned
from edgesmith.data.multilabel import multilabel_data
from edgesmith.data.photo_rows import Named, read_photos
from edgesmith.data.shards import PICTURES, samples, shard_paths
from edgesmith.data.split import Data, Split
from edgesmith.errors import DamagedArtifact, MissingResource, UsageError
from edgesmith.tensors import Preprocessing


def load(
    preprocessing: Preprocessing | None,
    classes: Sequence[str],
    root: str | Path = "",
    shards: str = "*.tar",
    evaluation: str = "",
    label: str = "json",
    partial: str = "",
    calibration: int = 300,
    holdout: float = 0.2,
    strict: bool = False,
    cache: str = "",
    memory_gb: float = 8.0,
    seed: int = 0,
) -> Data:
    """Read pictures with labels from the shards that match: [classes there], or {"positive": [...], "negative": [...]}.

    Labels are names of `classes` or numbers from 0; with a "negative" list what is in neither list is not annotated
    (-1). `evaluation` names other shards to judge by; else a share `holdout` of the images is held out. Unreadable
    pictures are skipped and named in Data.skipped, or refused when `strict`. `cache` as in the dataset "multilabel".
    Raises: UsageError, MissingResource, UntrustedFile, DamagedArtifact.
    """
    preprocessing = need_preprocessing(preprocessing, f"shards {root or '(none)'}")
    if not str(root):
        raise MissingResource("load shards", "no folder was named", "give root=FOLDER")
    if cache and not evaluation:
        raise UsageError(f"load shards {root} through a cache", "no shards to judge by", "give evaluation=PATTERN")
    size, names = preprocessing.size, tuple(classes)

    def read(pattern: str, kept: str) -> tuple[Split, tuple[str, ...]]:
        paths = shard_paths(Path(root), pattern)
        labels = _labels(paths, label, names)
        stats = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
        where = Path(kept) if kept else None
        found = read_photos(labels.images, lambda: _content(paths), size, stats, strict, where, memory_gb)
        split = Split({"image": found.images}, labels.labels[found.rows], tuple(labels.images[r] for r in found.rows))
        return split, tuple(labels.images[row] for row in found.skipped)

    whole, skipped = read(shards, cache)
    asked, more = read(evaluation, "") if evaluation else (None, ())
    title = f"shards {Path(root).name}"
    rest = (partial, holdout, calibration, seed, (*skipped, *more))
    return multilabel_data(title, whole, asked, preprocessing, names, *rest)


def _labels(shards: list[Path], label: str, classes: tuple[str, ...]) -> LabelTable:
    """The label table of the shards; pictures are not read."""
    keys, said = [], []
    for sample in samples(shards, (label,)):
        sample.picture()  # names the sample now that has none
        text, where = sample.files.get(label), f"sample {sample.key}"
        if text is None:
            raise DamagedArtifact(f"read {where}", f"no .{label} in {sorted(sample.files)}", "give each its labels")
        try:
            entry = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DamagedArtifact(f"read {where}", f".{label} is not JSON", "make the shards again") from error
        keys.append(sample.key)
        said.append(mentioned(where, entry, classes))
    if not keys:
        raise MissingResource(f"load shards {shards[0].parent}", "no samples in them", "check the shards")
    found = ((row, name, value) for row, (pairs, _) in enumerate(said) for name, value in pairs)
    return table(Facts(f"shards {shards[0].parent}", tuple(keys), classes, found, [rest for _, rest in said]))


def _content(shards: list[Path]) -> Iterator[Named]:
    for row, sample in enumerate(samples(shards, PICTURES)):
        yield row, sample.picture()
