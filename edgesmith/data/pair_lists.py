"""Lists of face pairs and their folds: LFW's format, that of CFP, and plain "path path label" lines (AgeDB and others).

Source: Huang et al. 2007 (LFW); Sengupta et al. 2016 (CFP, frontal against frontal or profile).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from edgesmith.errors import DamagedArtifact, MissingResource, UsageError

Format = Literal["lfw", "cfp-ff", "cfp-fp", "paths"]
LABELS = {"1": True, "0": False, "-1": False}
# How many folders above the picture its person is: CFP has "001/frontal/01.jpg".
PERSON_LEVEL: dict[Format, int] = {"lfw": 1, "cfp-ff": 2, "cfp-fp": 2, "paths": 1}


@dataclass(frozen=True)
class Pair:
    """Two pictures by name, whether they show one person, and their fold."""

    first: str
    second: str
    same: bool
    fold: int


def read_pairs(path: Path, form: Format = "lfw", folds: int = 10) -> list[Pair]:
    """Read a list of pairs; names are paths of pictures below the data's folder.

    lfw: a file that says its own folds. cfp-ff, cfp-fp: CFP's folder "Protocol". paths: a file of "path path label"
    lines (label 1, or 0 or -1), cut into `folds` blocks in its order.
    Raises: MissingResource, UsageError, DamagedArtifact naming the line.
    """
    if form == "lfw":
        return _read_lfw(path)
    if form == "paths":
        return _read_paths(path, folds)
    return _read_cfp(path, form)


def contiguous_folds(count: int, folds: int) -> np.ndarray:
    """Fold of each pair when a list is cut into blocks in its order, the first ones longer by one. Shape: (count,).

    Raises: UsageError for fewer than two folds, or more folds than pairs.
    """
    if not 2 <= folds <= count:
        raise UsageError(f"cut {count} pairs into {folds} folds", "a fold would be empty", "ask for 2 folds or more")
    sizes = [count // folds + (fold < count % folds) for fold in range(folds)]
    return np.repeat(np.arange(folds), sizes)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MissingResource(f"read pairs {path}", "no such file", "check the path") from error
    except UnicodeDecodeError as error:
        raise DamagedArtifact(f"read pairs {path}", f"not text ({error})", "fetch it again") from error


def _read_lfw(path: Path) -> list[Pair]:
    """ "folds<TAB>n", then for every fold n same-person and n different-person lines."""
    lines = [line.split() for line in _lines(path) if line.strip()]
    try:
        folds, each = (int(lines[0][0]), int(lines[0][1])) if len(lines[0]) > 1 else (1, int(lines[0][0]))
    except (IndexError, ValueError) as error:
        raise DamagedArtifact(f"read {path}", "line 1 is not 'folds n'", "fetch it again") from error
    if len(lines) - 1 != folds * each * 2:
        raise DamagedArtifact(f"read {path}", f"{len(lines) - 1} pairs, not {folds} x 2 x {each}", "fetch it again")
    return [_lfw_pair(path, number, words, (number - 2) // (2 * each)) for number, words in enumerate(lines[1:], 2)]


def _lfw_pair(path: Path, number: int, words: list[str], fold: int) -> Pair:
    try:
        if len(words) == 3:
            return Pair(_lfw_file(words[0], words[1]), _lfw_file(words[0], words[2]), True, fold)
        first, one, second, other = words
        return Pair(_lfw_file(first, one), _lfw_file(second, other), False, fold)
    except ValueError as error:
        raise _no_pair(path, number, " ".join(words)) from error


def _lfw_file(person: str, number: str) -> str:
    return f"{person}/{person}_{int(number):04d}.jpg"


def _read_paths(path: Path, folds: int) -> list[Pair]:
    numbered = [(number, line) for number, line in enumerate(_lines(path), 1) if line.strip()]
    fold_of = contiguous_folds(len(numbered), folds)
    found = []
    for (number, line), fold in zip(numbered, fold_of):
        separator = next((mark for mark in ("\t", ",") if mark in line), None)  # names may hold blanks then
        words = [word.strip() for word in line.split(separator)]
        if len(words) != 3 or words[2] not in LABELS:
            raise _no_pair(path, number, line)
        found.append(Pair(_below(words[0]), _below(words[1]), LABELS[words[2]], int(fold)))
    return found


def _read_cfp(folder: Path, form: Format) -> list[Pair]:
    frontal = _cfp_names(folder / "Pair_list_F.txt")
    other = frontal if form == "cfp-ff" else _cfp_names(folder / "Pair_list_P.txt")
    split = folder / "Split" / form.removeprefix("cfp-").upper()
    folds = sorted(path for path in split.glob("*") if path.is_dir())
    if len(folds) < 2:
        raise MissingResource(f"read pairs {split}", f"{len(folds)} folds", "give CFP's folder Protocol, unpacked")
    return [
        pair
        for fold, place in enumerate(folds)
        for same in (True, False)
        for pair in _cfp_pairs(place / ("same.txt" if same else "diff.txt"), frontal, other, same, fold)
    ]


def _cfp_names(path: Path) -> dict[int, str]:
    names: dict[int, str] = {}
    for number, line in enumerate(_lines(path), 1):
        words = line.split()
        if not words:
            continue
        if len(words) != 2 or not words[0].isdigit():
            raise DamagedArtifact(f"read {path}", f"line {number} is not 'number path': {line}", "fetch it again")
        names[int(words[0])] = _below(words[1])
    return names


def _cfp_pairs(path: Path, first: dict[int, str], second: dict[int, str], same: bool, fold: int) -> Sequence[Pair]:
    found = []
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        try:
            one, other = (int(word) for word in line.split(","))
            found.append(Pair(first[one], second[other], same, fold))
        except (ValueError, KeyError) as error:
            raise _no_pair(path, number, line) from error
    return found


def _below(name: str) -> str:
    """A path as written in a list, relative to the data's folder: "../Data/a.jpg" is "Data/a.jpg"."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    return "/".join(parts)


def _no_pair(path: Path, number: int, line: str) -> DamagedArtifact:
    return DamagedArtifact(f"read {path}", f"line {number} is no pair: {line}", "fetch it again")
