"""Folders of photo albums: <event>/<album>/<photo>, or <album>/<photo> with a list of events. A .tar of them will do.

The layout is that of CUFED (Wang et al. 2016); multi-label events as in ML-CUFED (arXiv 2109.12499).
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from edgesmith.data.album_rows import Albums, Sampling, album_data, check_album_options, chosen, held_out
from edgesmith.data.archive import picture_names, pictures
from edgesmith.data.images import decode, squish
from edgesmith.data.split import Data
from edgesmith.errors import DamagedArtifact, MissingResource, UsageError
from edgesmith.tensors import Preprocessing

# The 23 event types of CUFED in their own order, which is not the order of the folders that happen to be there.
CUFED = (
    "Architecture", "BeachTrip", "Birthday", "BusinessActivity", "CasualFamilyGather", "Christmas", "Cruise",
    "Graduation", "GroupActivity", "Halloween", "Museum", "NatureTrip", "PersonalArtActivity",
    "PersonalMusicActivity", "PersonalSports", "Protest", "ReligiousActivity", "Show", "Sports", "ThemePark",
    "UrbanTrip", "Wedding", "Zoo",
)  # fmt: skip


def load(
    preprocessing: Preprocessing | None = None,
    root: str | Path = "",
    classes: str | Sequence[str] = (),
    events: str | Path = "",
    importance: str | Path = "",
    photos: int = 16,
    pool: int = 64,
    size: int = 64,
    sampling: Sampling = "uniform",
    calibration: int = 64,
    holdout: float = 0.2,
    strict: bool = False,
    seed: int = 0,
) -> Data:
    """Read albums: at most `pool` photos each for training, `photos` each (see `sampling`) for everything else.

    The event is the folder above the album, or what the file `events` says: JSON {album: [events]} or CSV with columns
    album, events (several apart by ";"), albums by path or by name. Events are numbered as in `classes` ("cufed": its
    23), which a list of events needs; otherwise by name. `importance`: JSON {photo: score} or CSV photo, importance;
    photos by path from the root.
    A corrupt photo, an album without photos, or without a line in `events`, is skipped and named in Data.skipped, or
    refused when `strict`. Raises: UsageError, MissingResource, DamagedArtifact, UntrustedFile.
    """
    check_album_options(preprocessing, photos, pool)
    top = Path(root)
    if not str(root) or not top.exists():
        raise MissingResource(f"load albums {root}", "no such folder or archive", "give root=FOLDER or FILE.tar")
    found, empty = _albums(top)
    labels, names, unlisted = _labels(top, found, Path(events) if str(events) else None, events_of(classes))
    skipped = [f"{album}/ (no photos)" for album in empty] + [f"{album}/ (in no list of events)" for album in unlisted]
    if strict and skipped:
        raise UsageError(f"load albums {top.name}", f"unusable: {', '.join(skipped[:5])}", "mend or remove them")
    kept = {album: files for album, files in found.items() if album not in unlisted}
    rng = np.random.default_rng(seed)
    wanted = {
        album: [files[row] for row in sorted(chosen(len(files), pool, "rand_permute", rng))]
        for album, files in kept.items()
    }
    scores = _scores(Path(importance)) if str(importance) else None
    content = pictures(top, {name for files in wanted.values() for name in files})
    whole, broken = read_albums(f"albums {top.name}", content, wanted, labels, scores, size, strict)
    train, judged = held_out(whole, holdout, seed)
    skipped += broken
    return album_data(f"albums {top.name}", train, judged, names, photos, sampling, calibration, seed, tuple(skipped))


def events_of(classes: str | Sequence[str]) -> tuple[str, ...]:
    """The names of the events; "cufed" stands for its own."""
    return CUFED if classes == "cufed" else (classes,) if isinstance(classes, str) else tuple(classes)


def _albums(root: Path) -> tuple[dict[str, list[str]], list[str]]:
    """Album -> its photos, both by path from the root and sorted; and the innermost folders without a photo."""
    found: dict[str, list[str]] = {}
    for name in picture_names(root):
        found.setdefault(str(PurePosixPath(name).parent), []).append(name)
    if not found or "." in found:
        what = "photos beside the albums" if found else "no photos in it"
        raise MissingResource(f"load albums {root}", what, "lay them out as <event>/<album>/<photo> or <album>/<photo>")
    folders = [path for path in sorted(root.rglob("*")) if path.is_dir()] if root.is_dir() else []
    inner = [path for path in folders if not any(child.is_dir() for child in path.iterdir())]
    names = [path.relative_to(root).as_posix() for path in inner]
    return found, [name for name in names if name not in found]


def _labels(
    root: Path, albums: Mapping[str, list[str]], events: Path | None, classes: tuple[str, ...]
) -> tuple[dict[str, Any], tuple[str, ...], list[str]]:
    """Album -> event number or a row of 0 and 1; the names of the events; the albums that the list leaves out."""
    asked = f"load albums {root.name}"
    if events is None:
        if all("/" not in album for album in albums):
            return {}, classes, []
        above = {album: album.split("/")[0] for album in albums}
        names = classes or tuple(sorted(set(above.values())))
        _no_strangers(asked, set(above.values()), names)
        return {album: names.index(event) for album, event in above.items()}, names, []
    listed = _events(events)
    if not classes:
        raise UsageError(asked, f"{events.name} names events, and nothing says their order", "give classes=[...]")
    _no_strangers(asked, {event for own in listed.values() for event in own}, classes)
    by_album = {album: listed.get(album, listed.get(album.rpartition("/")[2])) for album in albums}
    rows = {album: np.isin(classes, list(own)).astype(np.int8) for album, own in by_album.items() if own is not None}
    return rows, classes, [album for album, own in by_album.items() if own is None]


def _no_strangers(asked: str, found: set[str], classes: Sequence[str]) -> None:
    if strangers := sorted(found - set(classes)):
        raise UsageError(asked, f"events that are in no class: {strangers[:5]}", "name all of them in classes")


def read_albums(
    name: str,
    content: Iterable[tuple[str, bytes]],
    wanted: Mapping[str, list[str]],
    labels: Mapping[str, Any],
    scores: Mapping[str, float] | None,
    size: int,
    strict: bool,
) -> tuple[Albums, list[str]]:
    """The photos of `content` in the places of the `wanted` ones (album -> photos), and the names of what is broken.

    labels: album -> label, or none at all; scores: photo -> importance. Raises: DamagedArtifact, MissingResource.
    """
    place = {photo: (row, column) for row, files in enumerate(wanted.values()) for column, photo in enumerate(files)}
    shape = (len(wanted), max(map(len, wanted.values()), default=0))
    images, mask = np.zeros((*shape, size, size, 3), np.uint8), np.zeros(shape, np.uint8)
    truth, skipped = np.full(shape, np.nan, np.float32), []
    for photo, file in content:
        try:
            images[place[photo]], mask[place[photo]] = squish(decode(file, photo), (size, size)), 1
            truth[place[photo]] = np.nan if scores is None else scores.get(photo.removeprefix("./"), np.nan)
        except DamagedArtifact:
            if strict:
                raise
            skipped.append(photo)
    usable = np.flatnonzero(mask.any(1))
    albums = list(wanted)
    skipped += [f"{album}/ (no readable photo)" for row, album in enumerate(albums) if not mask[row].any()]
    if not len(usable):
        raise MissingResource(f"load {name}", "no photo in it can be read", "replace them")
    numbers = np.array([labels[album] for album in albums]) if labels else None
    whole = Albums(images, mask, numbers, None if scores is None else truth, tuple(albums))
    return whole.take(usable), skipped


def _events(file: Path) -> dict[str, list[str]]:
    rows = _table(file, ("album", "events"))
    if any(not isinstance(own, (str, list)) for own in rows.values()):
        raise DamagedArtifact(f"read {file.name}", "an album's events are no list", "write {album: [event, ...]}")
    return {
        album: [event.strip() for event in own.split(";") if event.strip()] if isinstance(own, str) else own
        for album, own in rows.items()
    }


def _scores(file: Path) -> dict[str, float]:
    try:
        return {photo: float(score) for photo, score in _table(file, ("photo", "importance")).items()}
    except (TypeError, ValueError) as error:
        raise DamagedArtifact(f"read {file.name}", str(error), "give a number a photo") from error


def _table(file: Path, columns: tuple[str, str]) -> dict[str, Any]:
    """Two columns of a CSV with these headers, or a JSON mapping."""
    if not file.is_file():
        raise MissingResource(f"read {file}", "no such file", "check the path")
    try:
        if file.suffix == ".json":
            return dict(json.loads(file.read_text(encoding="utf-8")))
        with file.open(encoding="utf-8", newline="") as lines:
            return {row[columns[0]]: row[columns[1]] for row in csv.DictReader(lines)}
    except (KeyError, TypeError, ValueError) as error:
        todo = f"write a JSON mapping, or a CSV headed {','.join(columns)}"
        raise DamagedArtifact(f"read {file.name}", f"{type(error).__name__}: {error}", todo) from error
