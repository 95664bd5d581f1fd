"""A folder of pictures, with one sub-folder a class where they have labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgesmith.data.images import SUFFIXES, decode, need_preprocessing, squish
from edgesmith.data.split import Data, Split, labelled_data, unlabelled_data
from edgesmith.errors import DamagedArtifact, MissingResource, UsageError
from edgesmith.tensors import Preprocessing


def load(
    preprocessing: Preprocessing | None,
    root: str | Path = "",
    calibration: int = 300,
    holdout: float = 0.2,
    classes: Sequence[str] = (),
    limit: int | None = None,
    strict: bool = False,
    seed: int = 0,
) -> Data:
    """Read the pictures under `root`, squished to the preprocessing's size.

    Sub-folders are classes, numbered by name or in the order of `classes`; without them there are no labels.
    A corrupt file is skipped and named in Data.skipped, or refused when `strict`. `limit` takes a seeded part.
    Raises: UsageError, MissingResource, DamagedArtifact.
    """
    preprocessing = need_preprocessing(preprocessing, f"folder {root or '(none)'}")
    top = Path(root)
    if not str(root) or not top.is_dir():
        raise MissingResource(f"load folder {root}", "no such folder", "give root=FOLDER")
    files, labels, names = _files(top, tuple(classes))
    if limit is not None and limit < len(files):
        rows = np.sort(np.random.default_rng(seed).permutation(len(files))[:limit])
        files, labels = [files[row] for row in rows], None if labels is None else labels[rows]
    whole, skipped = _read(top, files, labels, preprocessing, strict)
    title = f"folder {top.name}"
    if labels is None:
        return unlabelled_data(title, whole, preprocessing, calibration, seed, skipped)
    return labelled_data(title, whole, preprocessing, names, holdout, calibration, seed, skipped)


def _files(root: Path, classes: tuple[str, ...]) -> tuple[list[Path], np.ndarray | None, tuple[str, ...]]:
    loose = _pictures(root.iterdir())
    by_class = {folder.name: _pictures(folder.rglob("*")) for folder in sorted(root.iterdir()) if folder.is_dir()}
    by_class = {name: files for name, files in by_class.items() if files}
    if not loose and not by_class:
        raise MissingResource(f"load folder {root}", "no pictures in it", f"put files in it: {' '.join(SUFFIXES)}")
    if not by_class:
        return loose, None, ()
    if loose:
        found = f"{len(loose)} pictures beside {len(by_class)} sub-folders"
        raise UsageError(f"load folder {root}", found, "keep either pictures or one sub-folder a class")
    names = classes or tuple(by_class)
    if strangers := sorted(set(by_class) - set(names)):
        raise UsageError(f"load folder {root}", f"sub-folders that are no class: {strangers[:5]}", "name all classes")
    files = [file for members in by_class.values() for file in members]
    numbers = [names.index(name) for name, members in by_class.items() for _ in members]
    return files, np.array(numbers, np.int64), names


def _pictures(paths: object) -> list[Path]:
    return sorted(
        path
        for path in paths  # type: ignore[attr-defined]
        if path.is_file() and path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    )


def _read(
    root: Path, files: list[Path], labels: np.ndarray | None, preprocessing: Preprocessing, strict: bool
) -> tuple[Split, list[str]]:
    images, kept, skipped = [], [], []
    for row, path in enumerate(files):
        try:
            images.append(squish(decode(path), preprocessing.size))
            kept.append(row)
        except DamagedArtifact:
            if strict:
                raise
            skipped.append(str(path.relative_to(root)))
    if not images:
        raise MissingResource(f"load folder {root}", f"none of {len(files)} pictures can be read", "replace them")
    names = tuple(str(files[row].relative_to(root)) for row in kept)
    split = Split({"image": np.stack(images)}, None, names)
    return (split if labels is None else replace(split, labels=labels[kept])), skipped
