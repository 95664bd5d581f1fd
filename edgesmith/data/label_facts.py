"""What annotation files say, whatever their format, and the label table it makes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from edgesmith.errors import DamagedArtifact, UsageError

VALUES = (-1, 0, 1)
LARGEST_TABLE = 4 << 30


@dataclass(frozen=True)
class Facts:
    """What one annotation file says.

    images: names, as the files are called. classes: all of them in their order; () means those that occur, sorted.
    found: (row of the image, class, value), value 1 there, 0 not there, -1 not to be judged; where two contradict
    each other the larger one counts. rest: the value of all that is not mentioned, for each image or for all.
    """

    source: str
    images: tuple[str, ...]
    classes: tuple[str, ...]
    found: Iterable[tuple[int, str, int]]
    rest: int | Sequence[int] = 0


@dataclass(frozen=True)
class LabelTable:
    """Labels (N, C) int8 of 1, 0 and -1 (not annotated), with the names of both axes."""

    images: tuple[str, ...]
    classes: tuple[str, ...]
    labels: np.ndarray

    def take(self, rows: np.ndarray) -> LabelTable:
        """These images, in this order."""
        return LabelTable(tuple(self.images[row] for row in rows), self.classes, self.labels[rows])


def table(facts: Facts, classes: Sequence[str] = (), known: Sequence[str] = ()) -> LabelTable:
    """The label table of the chosen `classes` (all, if none are named), in their order; others are left out.

    known: the classes of the training part, to which those of another part must belong; the table gets just these.
    Raises: UsageError for classes the file does not have, DamagedArtifact for a value that is none of -1, 0, 1.
    """
    _no_duplicates(facts.source, facts.images, "image")
    rows, columns, values, names = _columns(facts)
    order = tuple(facts.classes) or tuple(sorted(names))
    _no_duplicates(facts.source, tuple(classes) or order, "class")
    wanted = tuple(classes) or tuple(known) or order
    _check_classes(facts, order, classes, known)
    if len(facts.images) * len(wanted) > LARGEST_TABLE:
        found = f"{len(facts.images)} images x {len(wanted)} classes"
        raise UsageError(f"hold the labels of {facts.source}", found, "choose fewer with classes=[...] or limit=N")
    place = {name: index for index, name in enumerate(wanted)}
    column_of = np.array([place.get(name, -1) for name in names], np.int64)
    rest = np.broadcast_to(np.asarray(facts.rest, np.int8).reshape(-1, 1), (len(facts.images), 1))
    labels = np.repeat(rest, len(wanted), axis=1)
    for value in VALUES:  # the larger one is written last, and counts
        chosen = values == value
        targets = column_of[columns[chosen]]
        labels[rows[chosen][targets >= 0], targets[targets >= 0]] = value
    return LabelTable(tuple(facts.images), wanted, labels)


def _columns(facts: Facts) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    """The facts as numbers: rows, classes numbered in the order they come, values."""
    numbers: dict[str, int] = {}
    triples = ((row, numbers.setdefault(name, len(numbers)), value) for row, name, value in facts.found)
    flat = np.fromiter(chain.from_iterable(triples), np.int64).reshape(-1, 3)
    strange = np.setdiff1d(flat[:, 2], VALUES)
    if len(strange):
        todo = "write 1 there, 0 not there, -1 not annotated"
        raise DamagedArtifact(f"read labels {facts.source}", f"values {strange[:5].tolist()}", todo)
    return flat[:, 0], flat[:, 1], flat[:, 2], list(numbers)


def _check_classes(facts: Facts, order: tuple[str, ...], classes: Sequence[str], known: Sequence[str]) -> None:
    asked = f"read labels {facts.source}"
    if not order:
        raise UsageError(asked, "no class is annotated in it", "check that it is the right file")
    # A file that lists its classes knows them all; one that does not may just never have met one.
    absent = [name for name in (classes or known) if facts.classes and name not in facts.classes]
    if absent:
        raise UsageError(asked, f"{len(absent)} classes it does not have: {absent[:5]}", "check the list of classes")
    strangers = [name for name in order if known and not classes and name not in known]
    if strangers:
        found = f"{len(strangers)} classes that the training part does not have: {strangers[:5]}"
        raise UsageError(asked, found, "name the classes to use: classes=[...]")


def _no_duplicates(source: str, names: Sequence[str], what: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise UsageError(f"read labels {source}", f"{what} {name!r} comes twice", "name each once")
        seen.add(name)
