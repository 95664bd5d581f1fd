"""Face verification: faces on ArcFace's 112 x 112 template and a list of pairs in folds.

Source: Huang et al. 2007 (the pair protocol).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from edgesmith.data.alignment import ALIGNED, align, read_landmarks
from edgesmith.data.archive import picture_names, pictures
from edgesmith.data.images import decode, need_preprocessing, squish
from edgesmith.data.pair_lists import PERSON_LEVEL, Format, Pair, read_pairs
from edgesmith.data.split import Data, Evaluation, Split, digest, sample_rows
from edgesmith.errors import DamagedArtifact, MissingResource, UsageError
from edgesmith.tensors import Preprocessing

NARROW = (112, 96)
NARROW_COLUMNS = slice(8, 104)  # the 112 x 96 template is the 112 x 112 one without 8 columns on each side
ADVICE = "put images.tar (or the folders of people) and the list of pairs in one folder and give root=FOLDER"
People = Literal["folder", "unknown"]


def load(
    preprocessing: Preprocessing | None,
    root: str | Path = "",
    folder: str = "",
    calibration: int = 300,
    limit: int | None = None,
    pairs: str = "",
    form: Format = "lfw",
    folds: int = 10,
    people: People = "folder",
    calibrate_on: str = "",
    landmarks: str = "",
    train_on: Sequence[str] = (),
    train_list: str = "",
    seed: int = 0,
) -> Data:
    """Verification over the pictures of the people in a list of pairs; calibration on people who stand in no pair.

    `folder` is looked for under `root`; `pairs` is the list in it (pairs.txt, or Protocol for CFP's formats); `limit`
    keeps the first so many folds; `calibrate_on` is another folder or tar of faces, for lists that take everyone.
    people "unknown": a picture's folder says nothing; then only the listed pictures are used and the rates over all
    pairs of people are left out. `landmarks` is a file "name x1 y1 ... x5 y5" by which pictures are aligned.
    `train_on` are folders or tars under `root` to train on, each person a class; a person of `folder` who stands in a
    pair is left out. `train_list` is a file of the pictures to keep, one "folder/person/picture" a line: whoever
    cleans a set by a model's embeddings writes it.
    Raises: UsageError, MissingResource, UntrustedFile, DamagedArtifact.
    """
    preprocessing = need_preprocessing(preprocessing, f"faces {root or '(none)'}")
    top = Path(root) / folder
    listed = top / (pairs or ("pairs.txt" if form in ("lfw", "paths") else "Protocol"))
    if not str(root) or not listed.exists():
        raise MissingResource(f"load faces {root}", f"no {listed.name} there", ADVICE)
    points = {mark.name: mark.points for mark in read_landmarks(top / landmarks)} if landmarks else {}
    reader = _Pictures(_source(top), preprocessing.size, points)
    every = read_pairs(listed, form, folds)
    kept = [pair for pair in every if limit is None or pair.fold < limit]
    who = Person(PERSON_LEVEL[form] if people == "folder" else 0)
    names = picture_names(reader.source)
    if calibrate_on:
        calibrating = calibration_faces(top / calibrate_on, preprocessing.size, calibration, seed)
    else:
        paired = {who(name) for pair in every for name in (pair.first, pair.second)}
        calibrating = _calibration(reader, [name for name in names if who(name) not in paired], calibration, seed)
    evaluation = _evaluation(reader, names, kept, who)
    train: Split | None = None
    classes: tuple[str, ...] = ()
    if train_on:
        chosen = training_pictures(Path(root), train_on, folder, every, who, train_list)
        train, classes = _train(Path(root), chosen, preprocessing.size)
    # Without people to train on, the digest is what it was before there were any.
    found = digest(calibrating, evaluation.split, evaluation.arrays, *((train,) if train else ()))
    return Data("faces", found, preprocessing, classes, train, calibrating, evaluation)


def training_pictures(
    root: Path, folders: Sequence[str], judged: str, pairs: Sequence[Pair], who: Person, listed: str = ""
) -> dict[str, list[str]]:
    """Pictures to train on, "person/picture" by folder: nobody of folder `judged` who stands in a pair.

    Raises: MissingResource when `listed` names a picture that is not there, or nothing is left.
    """
    paired = {who(name) for pair in pairs for name in (pair.first, pair.second)}
    found = {place: picture_names(_source(root / place)) for place in folders}
    if judged in found:
        found[judged] = [name for name in found[judged] if who(name) not in paired]
    if listed:
        if not (root / listed).is_file():
            raise MissingResource(f"train on the pictures of {listed}", "no such list", "check train_list")
        wanted = set((root / listed).read_text().split("\n")) - {""}
        absent = sorted(wanted - {f"{place}/{name}" for place, names in found.items() for name in names})
        if absent:
            what = f"{len(absent)} pictures are not there, or their people stand in a pair: {absent[:3]}"
            raise MissingResource(f"train on the pictures of {listed}", what, "write the list anew")
        found = {place: [n for n in names if f"{place}/{n}" in wanted] for place, names in found.items()}
    if not any(found.values()):
        raise MissingResource(f"train on {list(folders)}", "no picture is left", "check train_on and train_list")
    return found


def _train(root: Path, chosen: Mapping[str, list[str]], size: tuple[int, int]) -> tuple[Split, tuple[str, ...]]:
    """The pictures by folder, in order; a class is "folder/person"."""
    images = np.concatenate([_Pictures(_source(root / p), size, {}).read(names) for p, names in chosen.items()])
    shown = [f"{place}/{name}" for place, names in chosen.items() for name in names]
    classes, labels = np.unique([name.rpartition("/")[0] for name in shown], return_inverse=True)
    return Split({"image": images}, labels.reshape(-1).astype(np.int64), tuple(shown)), tuple(classes.tolist())


@dataclass(frozen=True)
class Person:
    """Whose picture one is: the name of the folder `level` above it; with level 0 every picture stands for itself."""

    level: int

    def __call__(self, name: str) -> str:
        parts = name.split("/")
        if not self.level:
            return name
        return parts[-1 - self.level] if len(parts) > self.level else ""

    def numbers(self, names: Sequence[str]) -> np.ndarray:
        """People from 0; one number for all where people are unknown, so that no two pictures count as strangers."""
        if not self.level:
            return np.zeros(len(names), np.int64)
        number = {person: index for index, person in enumerate(sorted({self(name) for name in names}))}
        return np.array([number[self(name)] for name in names], np.int64)


@dataclass(frozen=True)
class _Pictures:
    """The faces of one folder or archive, at the model's size."""

    source: Path
    size: tuple[int, int]
    points: Mapping[str, np.ndarray]

    def read(self, names: Sequence[str], mirrored: bool = False) -> np.ndarray:
        """In the order of `names`, and their mirror images after them where asked, in one piece of memory."""
        rows = {name: index for index, name in enumerate(names)}
        images = np.empty((len(names) * (2 if mirrored else 1), *self.size, 3), np.uint8)
        for name, content in pictures(self.source, set(names)):
            images[rows[name]] = fitted(self._aligned(decode(content, name), name), name, self.size)
        if mirrored:
            images[len(names) :] = images[: len(names), :, ::-1]
        return images

    def _aligned(self, image: np.ndarray, name: str) -> np.ndarray:
        if not self.points:
            return image
        if name not in self.points:
            raise MissingResource(f"align {name}", "the file of landmarks has no points for it", "add its five points")
        return align(image, self.points[name])


def _source(place: Path) -> Path:
    """The folder, its images.tar, or the archive itself. Raises: MissingResource."""
    source = place / "images.tar" if (place / "images.tar").is_file() else place
    if not source.exists():
        raise MissingResource(f"faces of {place}", "no such folder or archive", "check the path")
    return source


def calibration_faces(place: Path, size: tuple[int, int], count: int, seed: int) -> Split:
    """Some faces of another set's folder or tar: they have no points here, so they must lie on the template already.

    Raises: MissingResource, UsageError for a picture of another size.
    """
    other = _Pictures(_source(place), size, {})
    return _calibration(other, picture_names(other.source), count, seed)


def _calibration(reader: _Pictures, free: list[str], count: int, seed: int) -> Split:
    if not free:
        todo = "add such people to calibrate on, or give calibrate_on=FOLDER with other faces"
        raise MissingResource(f"calibrate on {reader.source}", "no person who stands in no pair", todo)
    chosen = [free[row] for row in sample_rows(len(free), count, seed)]
    return Split({"image": reader.read(chosen)}, None, tuple(chosen))


def _evaluation(reader: _Pictures, names: list[str], pairs: list[Pair], who: Person) -> Evaluation:
    for pair in pairs:
        if who.level and (who(pair.first) == who(pair.second)) != pair.same:
            found = f"{pair.first} and {pair.second} are listed as {'one person' if pair.same else 'two people'}"
            todo = "mend the list, or say people=unknown if folders are not people"
            raise DamagedArtifact(f"faces of {reader.source}, one folder a person", found, todo)
    listed = {name for pair in pairs for name in (pair.first, pair.second)}
    people = {who(name) for name in listed}
    used = [name for name in names if who(name) in people]
    row = {name: index for index, name in enumerate(used)}
    if missing := sorted(listed - set(row)):
        raise MissingResource(f"listed pictures in {reader.source}", f"{len(missing)} absent: {missing[:3]}", ADVICE)
    arrays = {
        "pairs": np.array([(row[pair.first], row[pair.second]) for pair in pairs], np.int64).reshape(-1, 2),
        "same": np.array([pair.same for pair in pairs], bool),
        "fold": np.array([pair.fold for pair in pairs], np.int64),
        "person": who.numbers(used),
    }
    shown = tuple(used) + tuple(f"{name}:mirror" for name in used)
    return Evaluation(Split({"image": reader.read(used, mirrored=True)}, None, shown), "verification", arrays)


def fitted(image: np.ndarray, name: str, size: tuple[int, int]) -> np.ndarray:
    """A face on the 112 x 112 template at a model's size: 112 x 96 is cut out, others are resized.

    Raises: UsageError for a picture of another size, which cannot be on the template.
    """
    if image.shape[:2] != ALIGNED:
        found = f"{name} has {image.shape[0]} x {image.shape[1]}"
        todo = "give landmarks=FILE with five points a picture, or align them to ArcFace's template first"
        raise UsageError("faces aligned to 112 x 112", found, todo)
    return image[:, NARROW_COLUMNS] if size == NARROW else squish(image, size)
