"""The list files of template verification as IJB-B and IJB-C are passed on: faces, templates and media, pairs.

Source: Whitelam et al. 2017 (IJB-B) and Maze et al. 2018 (IJB-C), section "1:1 verification".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgesmith.data.alignment import ALIGNED, ORDER, align, looks_mirrored, read_landmarks
from edgesmith.data.images import decode
from edgesmith.errors import DamagedArtifact, MissingResource, UsageError


@dataclass(frozen=True)
class TemplateLists:
    """N faces by picture name, points and detector score, in templates and media; P pairs of templates.

    Shape: points (N, 5, 2), detector (N,), template (N,), media (N,), pairs (P, 2) of template ids, same bool (P,).
    """

    names: tuple[str, ...]
    points: np.ndarray
    detector: np.ndarray
    template: np.ndarray
    media: np.ndarray
    pairs: np.ndarray
    same: np.ndarray


def read_lists(folder: Path, name: str = "ijbc") -> TemplateLists:
    """Read <name>_name_5pts_score.txt, <name>_face_tid_mid.txt and <name>_template_pair_label.txt.

    Raises: MissingResource, DamagedArtifact (a broken line, lists that do not fit each other, a pair of an unknown
    template, a label other than 0 and 1).
    """
    faces = read_landmarks(folder / f"{name}_name_5pts_score.txt", scored=True)
    media_file = folder / f"{name}_face_tid_mid.txt"
    rows = list(_media(media_file))
    if [row[0] for row in rows] != [face.name for face in faces]:
        found = f"{len(rows)} faces there, {len(faces)} in the list of points, or in another order"
        raise DamagedArtifact(f"read {media_file}", found, "give lists that belong together")
    template, media = np.array([row[1:] for row in rows], np.int64).reshape(-1, 2).T
    pairs, same = _pairs(folder / f"{name}_template_pair_label.txt", template)
    return TemplateLists(
        tuple(face.name for face in faces),
        np.array([face.points for face in faces]).reshape(-1, 5, 2),
        np.array([face.score for face in faces], np.float64),
        template,
        media,
        pairs,
        same,
    )


def aligned_faces(folder: Path, lists: TemplateLists, rows: Sequence[int] | np.ndarray) -> np.ndarray:
    """Faces of these rows on ArcFace's template, read from `folder`. Shape: uint8 RGB (n, 112, 112, 3).

    The order of the points is checked on the list as a whole: a few extreme profiles look mirrored and are not.
    Raises: UsageError when most faces look mirrored, MissingResource, DamagedArtifact.
    """
    mirrored = sum(looks_mirrored(points) for points in lists.points)
    if 2 * mirrored > len(lists.points):
        found = f"{mirrored} of {len(lists.points)} faces have points in mirrored order"
        raise UsageError(f"align the faces of {folder}", found, f"the order is: {ORDER}")
    images = np.empty((len(rows), *ALIGNED, 3), np.uint8)
    for place, row in enumerate(rows):
        file = folder / lists.names[row]
        if not file.is_file():
            raise MissingResource(f"read face {file}", "no such file", "give the folder of the listed pictures")
        images[place] = align(decode(file), lists.points[row], refuse_mirrored=False)
    return images


def _media(path: Path) -> Iterator[tuple[str, int, int]]:
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError as error:
        raise MissingResource(f"read {path}", "no such file", "check the folder and the name") from error
    for number, line in enumerate(lines, 1):
        words = line.split()
        try:
            name, template, media = words
            yield name, int(template), int(media)
        except ValueError as error:
            found = f"line {number} is not 'name template media': {line}"
            raise DamagedArtifact(f"read {path}", found, "fetch it again") from error


def _pairs(path: Path, template: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if not path.is_file():
        raise MissingResource(f"read {path}", "no such file", "check the folder and the name")
    asked, todo = f"read {path}", "fetch it again"
    try:
        table = np.loadtxt(path, np.int32, comments=None, ndmin=2)  # 15.7 million lines for IJB-C: 188 MB
    except (ValueError, OverflowError) as error:
        raise DamagedArtifact(asked, f"not 'template template label' lines ({error})", todo) from error
    if not len(table) or table.shape[1] != 3 or not np.isin(table[:, 2], (0, 1)).all():
        raise DamagedArtifact(asked, "not lines of two templates and a label 0 or 1", todo)
    strangers = np.setdiff1d(table[:, :2], template)
    if len(strangers):
        raise DamagedArtifact(asked, f"{len(strangers)} templates without faces: {strangers[:3].tolist()}", todo)
    return table[:, :2], table[:, 2] == 1
