"""Face verification: aligned faces and LFW's list of pairs.

Source: Huang et al. 2007 (the pair protocol); alignment is to ArcFace's 112 x 112 five-point template.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgesmith.data.archive import picture_names, pictures
from edgesmith.data.images import decode, need_preprocessing, squish
from edgesmith.data.split import Data, Evaluation, Split, digest, sample_rows
from edgesmith.errors import DamagedArtifact, MissingResource, UsageError
from edgesmith.tensors import Preprocessing

ALIGNED = (112, 112)
NARROW = (112, 96)
NARROW_COLUMNS = slice(8, 104)  # the 112 x 96 template is the 112 x 112 one without 8 columns on each side
TODO = "put images.tar (or the folders of people) and pairs.txt in one folder and give root=FOLDER"


@dataclass(frozen=True)
class Pair:
    """Two pictures by name, whether they show one person, and their fold."""

    first: str
    second: str
    same: bool
    fold: int


def load(
    preprocessing: Preprocessing | None,
    root: str | Path = "",
    folder: str = "",
    calibration: int = 300,
    limit: int | None = None,
    seed: int = 0,
) -> Data:
    """Verification over all pictures of the people in pairs.txt; calibration on people who stand in no pair.

    `folder` is looked for under `root`; `limit` keeps the first so many folds.
    Raises: UsageError, MissingResource, UntrustedFile, DamagedArtifact.
    """
    preprocessing = need_preprocessing(preprocessing, f"faces {root or '(none)'}")
    top = Path(root) / folder
    source = top / "images.tar" if (top / "images.tar").is_file() else top
    if not str(root) or not (top / "pairs.txt").is_file():
        raise MissingResource(f"load faces {root}", "no pairs.txt there", TODO)
    pairs = read_pairs(top / "pairs.txt")
    names = picture_names(source)
    paired = {_person(name) for pair in pairs for name in (pair.first, pair.second)}
    if limit is not None:
        pairs = [pair for pair in pairs if pair.fold < limit]
    others = [name for name in names if _person(name) not in paired]
    if not others:
        raise MissingResource(
            f"load faces {root}", "no person who stands in no pair", "add such people to calibrate on"
        )
    chosen = [others[row] for row in sample_rows(len(others), calibration, seed)]
    calibrating = Split({"image": _images(source, chosen, preprocessing.size)}, None, tuple(chosen))
    evaluation = _evaluation(source, names, pairs, preprocessing.size)
    found = digest(calibrating, evaluation.split, evaluation.arrays)
    return Data("faces", found, preprocessing, (), None, calibrating, evaluation)


def read_pairs(path: Path) -> list[Pair]:
    """Read LFW's format: "folds<TAB>n", then for every fold n same-person and n different-person lines.

    Raises: DamagedArtifact naming the line.
    """
    lines = [line.split() for line in path.read_text().splitlines() if line.strip()]
    try:
        folds, each = (int(lines[0][0]), int(lines[0][1])) if len(lines[0]) > 1 else (1, int(lines[0][0]))
    except (IndexError, ValueError) as error:
        raise DamagedArtifact(f"read {path}", "line 1 is not 'folds n'", "fetch it again") from error
    if len(lines) - 1 != folds * each * 2:
        raise DamagedArtifact(f"read {path}", f"{len(lines) - 1} pairs, not {folds} x 2 x {each}", "fetch it again")
    return [_pair(path, number, words, (number - 2) // (2 * each)) for number, words in enumerate(lines[1:], 2)]


def _pair(path: Path, number: int, words: list[str], fold: int) -> Pair:
    try:
        if len(words) == 3:
            return Pair(_file(words[0], words[1]), _file(words[0], words[2]), True, fold)
        first, one, second, other = words
        return Pair(_file(first, one), _file(second, other), False, fold)
    except ValueError as error:
        raise DamagedArtifact(
            f"read {path}", f"line {number} is no pair: {' '.join(words)}", "fetch it again"
        ) from error


def _file(person: str, number: str) -> str:
    return f"{person}/{person}_{int(number):04d}.jpg"


def _person(name: str) -> str:
    return name.split("/")[-2] if "/" in name else ""


def _evaluation(source: Path, names: list[str], pairs: list[Pair], size: tuple[int, int]) -> Evaluation:
    people = sorted({_person(name) for pair in pairs for name in (pair.first, pair.second)})
    number = {person: index for index, person in enumerate(people)}
    used = [name for name in names if _person(name) in number]
    row = {name: index for index, name in enumerate(used)}
    missing = sorted({name for pair in pairs for name in (pair.first, pair.second)} - set(row))
    if missing:
        raise MissingResource(f"pictures of pairs.txt in {source}", f"{len(missing)} absent: {missing[:3]}", TODO)
    plain = _images(source, used, size, mirrored=True)
    arrays = {
        "pairs": np.array([(row[pair.first], row[pair.second]) for pair in pairs], np.int64).reshape(-1, 2),
        "same": np.array([pair.same for pair in pairs], bool),
        "fold": np.array([pair.fold for pair in pairs], np.int64),
        "person": np.array([number[_person(name)] for name in used], np.int64),
    }
    shown = tuple(used) + tuple(f"{name}:mirror" for name in used)
    return Evaluation(Split({"image": plain}, None, shown), "verification", arrays)


def _images(source: Path, names: list[str], size: tuple[int, int], mirrored: bool = False) -> np.ndarray:
    """Pictures in the order of `names`, and their mirror images after them where asked, in one piece of memory."""
    rows = {name: index for index, name in enumerate(names)}
    images = np.empty((len(names) * (2 if mirrored else 1), *size, 3), np.uint8)
    for name, content in pictures(source, set(names)):
        images[rows[name]] = _fitted(decode(content, name), name, size)
    if mirrored:
        images[len(names) :] = images[: len(names), :, ::-1]
    return images


def _fitted(image: np.ndarray, name: str, size: tuple[int, int]) -> np.ndarray:
    if image.shape[:2] != ALIGNED:
        found = f"{name} has {image.shape[0]} x {image.shape[1]}"
        raise UsageError("faces aligned to 112 x 112", found, "align them by five points to ArcFace's template first")
    return image[:, NARROW_COLUMNS] if size == NARROW else squish(image, size)
