from __future__ import annotations

import numpy as np
import pytest

from edgesmith.data.theme_albums import load
from edgesmith.errors import UsageError

FEW = {"albums": 40, "evaluation": 20, "calibration": 5, "size": 8, "photos": 6, "smallest": 2, "largest": 9}
THEMES = {"low": ["0", "1"], "also low": ["1", "2"]}


def kinds(photos: np.ndarray, mask: np.ndarray) -> list[np.ndarray]:
    """The digit on each photo that is there, by looking it up among the digits themselves."""
    from edgesmith.data.digits import load as digits
    from edgesmith.tensors import Preprocessing

    whole = digits(Preprocessing((8, 8), (0.0,) * 3, (1.0,) * 3))
    known = {}
    for split in (whole.train, whole.evaluation.split):
        known |= {image.tobytes(): label for image, label in zip(split.inputs["image"], split.labels)}
    return [np.array([known[image.tobytes()] for image in own[there > 0]]) for own, there in zip(photos, mask)]


def test_photos_are_of_the_theme_or_outside_it_and_importance_says_which() -> None:
    data = load(themes=THEMES, **FEW)
    judged = data.evaluation
    inside = {0: (0, 1), 1: (1, 2)}
    for own, label, truth, there in zip(
        kinds(**judged.split.inputs), judged.arrays["labels"], judged.arrays["importance"], judged.arrays["mask"]
    ):
        assert np.array_equal(np.isin(own, inside[int(label)]), truth[there > 0] == 1)
    assert data.classes == ("low", "also low") and judged.protocol == "albums"
    assert set(data.train.inputs["mask"].sum(1)) <= set(range(2, 10)) and data.train.inputs["mask"].shape == (40, 9)


def test_the_same_seed_gives_the_same_bytes_and_no_photo_is_on_both_sides() -> None:
    data = load(**FEW)
    assert data.digest == load(**FEW).digest != load(**FEW, seed=1).digest
    sides = []
    for split in (data.train, data.evaluation.split):
        there = split.inputs["mask"] > 0
        sides.append({photo.tobytes() for photo in split.inputs["photos"][there]})
    assert not sides[0] & sides[1]
    assert data.classes == ("0+1", "2+3", "4+5", "6+7", "8+9")


def test_several_themes_make_several_events() -> None:
    data = load(**FEW, several=True)
    assert set(data.train.labels.sum(1)) == {1, 2} and data.evaluation.protocol == "albums-multilabel"


@pytest.mark.parametrize(
    "wrong",
    [{"themes": {"x": ["11"]}}, {"themes": {"x": []}}, {"share": 0}, {"smallest": 0}, {"albums": 0},
     {"source": {"use": "scenes"}, "size": 16}, {"source": {"use": "digits", "holdout": 1.0}}, {"photos": 0}],
)  # fmt: skip
def test_what_makes_no_albums_is_refused(wrong: dict) -> None:
    with pytest.raises(UsageError, match="albums"):
        load(**{**FEW, **wrong})
