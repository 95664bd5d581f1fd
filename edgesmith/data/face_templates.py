"""Template verification as a data set: IJB-B's and IJB-C's lists, or any in their format, and the pictures they name.

The sets themselves come from NIST, for research; nothing of them is here.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from edgesmith.artifact import content_key
from edgesmith.data.faces import calibration_faces, fitted
from edgesmith.data.images import need_preprocessing
from edgesmith.data.pixels import store
from edgesmith.data.split import Data, Evaluation, Split, digest
from edgesmith.data.template_lists import TemplateLists, aligned_faces, read_lists
from edgesmith.errors import UsageError
from edgesmith.tensors import Arrays, Preprocessing

BLOCK = 256  # faces aligned at once


def load(
    preprocessing: Preprocessing | None,
    root: str | Path = "",
    folder: str = "",
    name: str = "ijbc",
    lists: str = "meta",
    pictures: str = "loose_crop",
    calibrate_on: str = "",
    calibration: int = 300,
    norm: bool = True,
    detector: bool = True,
    flip: bool = True,
    cache: str = "",
    memory_gb: float = 8.0,
    seed: int = 0,
) -> Data:
    """Templates of faces and their pairs, to be judged by the protocol "templates"; nothing to train on.

    `root`/`folder` has the list files in `lists` and the pictures in `pictures`, which are aligned by the list's own
    points. `calibrate_on` is a folder or tar of aligned faces of other people, for int8. norm, detector and flip: what
    enters a face's vector (edgesmith/verify/templates.py). `cache` (FILE.npy) holds the pixels of sets larger than
    memory: each face once as it is and once mirrored, 35 GB for IJB-C.
    Raises: UsageError, MissingResource, UntrustedFile, DamagedArtifact.
    """
    preprocessing = need_preprocessing(preprocessing, f"face-templates {root or '(none)'}")
    if not calibrate_on:
        todo = "give calibrate_on=FOLDER with aligned faces of other people"
        raise UsageError("verify templates", "no faces to calibrate on: all that are listed are judged", todo)
    top = Path(root) / folder
    found = read_lists(top / lists, name)
    size = preprocessing.size
    key = content_key("face-templates", found.names, digest({"points": found.points}), size)
    place = Path(cache) if cache else None
    images = store(2 * len(found.names), size, lambda: _faces(top / pictures, found, size), key, place, memory_gb)
    shown = found.names + tuple(f"{name}:mirror" for name in found.names)
    arrays = {**_arrays(found), "flags": np.array([norm, detector, flip])}
    evaluation = Evaluation(Split({"image": images}, None, shown), "templates", arrays)
    calibrating = calibration_faces(top / calibrate_on, size, calibration, seed)
    whole = digest(calibrating, evaluation.split, arrays)
    return Data(f"face-templates {name}", whole, preprocessing, (), None, calibrating, evaluation)


def _arrays(lists: TemplateLists) -> Arrays:
    return {
        "template": lists.template,
        "media": lists.media,
        "detector": lists.detector,
        "pairs": lists.pairs,
        "same": lists.same,
    }


def _faces(folder: Path, lists: TemplateLists, size: tuple[int, int]) -> Iterator[np.ndarray]:
    """All faces, then all mirror images; decoded twice, so that memory holds a block."""
    for step in (1, -1):
        for rows in np.array_split(np.arange(len(lists.names)), -(-len(lists.names) // BLOCK)):
            for row, face in zip(rows, aligned_faces(folder, lists, rows)):
                yield fitted(face, lists.names[row], size)[:, ::step]
