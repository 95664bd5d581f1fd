import json

import numpy as np
import pytest

from edgesmith.data import DATASETS
from edgesmith.data.album_shards import load
from edgesmith.data.albums import CUFED
from edgesmith.errors import DamagedArtifact, MissingResource, UsageError
from edgesmith.tensors import Preprocessing
from tests.data.test_shards import pack, picture

SMALL = {"size": 4, "photos": 3, "pool": 6, "holdout": 1.0}
EVENTS = ["party", "trip"]


def album(name: str, values, entry, mark: str = ".", label: str = "json"):
    """The members of one album, whose photos are of these brightnesses."""
    photos = [(f"{name}{mark}{place:03d}.png", picture(value)) for place, value in enumerate(values)]
    return photos if entry is None else [*photos, (f"{name}.{label}", json.dumps(entry).encode())]


@pytest.mark.parametrize("mark", [".", "/"])
def test_both_layouts_are_the_same_albums(tmp_path, mark) -> None:
    pack(tmp_path / "a-0.tar", album("s.1/w1", [1, 2], ["party"], mark) + album("w2", range(10, 19), [1, 0], mark))
    pack(tmp_path / "a-1.tar", album("z", [9], {"positive": [], "negative": ["trip"]}, mark))
    data = load(root=tmp_path, classes=EVENTS, **SMALL)
    split = data.evaluation.split
    assert split.names == ("s.1/w1", "w2", "z") and data.evaluation.protocol == "albums-multilabel"
    assert data.evaluation.arrays["labels"].tolist() == [[1, 0], [1, 1], [-1, 0]]
    assert split.inputs["mask"].tolist() == [[1, 1, 0], [1, 1, 1], [1, 0, 0]]
    photos = split.inputs["photos"][:, :, 0, 0, 0]
    assert photos[0].tolist() == [1, 2, 0] and (np.diff(photos[1].astype(int)) > 0).all() and photos[2, 0] == 9
    assert DATASETS.get("album-shards") is load and data.skipped == ()


def test_one_event_an_album(tmp_path) -> None:
    pack(tmp_path / "a.tar", album("z", [1], "Zoo") + album("w", [2], "Wedding"))
    data = load(root=tmp_path, classes="cufed", **SMALL)
    assert [CUFED[label] for label in data.evaluation.arrays["labels"]] == ["Zoo", "Wedding"]
    pack(tmp_path / "a.tar", album("z", [1], 1, label="cls") + album("w", [2], 0, label="cls"))
    data = load(root=tmp_path, classes=EVENTS, label="cls", **SMALL)
    assert data.evaluation.arrays["labels"].tolist() == [1, 0] and data.evaluation.protocol == "albums"


@pytest.mark.parametrize("mark", [".", "/"])
def test_importance_is_of_the_photos_that_were_chosen(tmp_path, mark) -> None:
    scores = {f"{place:03d}.png": place / 10 for place in range(9)}
    entries = album("w", range(9), {"positive": ["trip"], "importance": scores}, mark) + album("v", [7], ["trip"], mark)
    pack(tmp_path / "a.tar", entries)
    data = load(root=tmp_path, classes=EVENTS, **SMALL)
    truth, photos = data.evaluation.arrays["importance"], data.evaluation.split.inputs["photos"]
    assert np.allclose(truth[0], photos[0, :, 0, 0, 0] / 10) and np.isnan(truth[1]).all()


def test_other_shards_to_judge_by_and_albums_without_labels(tmp_path) -> None:
    pack(tmp_path / "t.tar", album("a", range(9), ["trip"]) + album("b", [5], ["party"]))
    pack(tmp_path / "e.tar", album("c", [6], ["trip"]))
    data = load(root=tmp_path, shards="t.tar", evaluation="e.tar", classes=EVENTS, **SMALL)
    assert data.train.inputs["photos"].shape == (2, 6, 4, 4, 3) and data.train.labels.tolist() == [[0, 1], [1, 0]]
    assert data.evaluation.split.names == ("c",)
    pack(tmp_path / "n.tar", album("d", [6], None))
    bare = load(root=tmp_path, shards="n.tar", **SMALL)
    assert bare.evaluation.protocol == "agreement" and bare.train is None
    with pytest.raises(UsageError, match="another kind"):
        load(root=tmp_path, shards="t.tar", evaluation="n.tar", classes=EVENTS, **SMALL)


def test_what_cannot_be_used_is_named(tmp_path) -> None:
    members = album("a", [1, 2], ["trip"]) + album("b", [3], None) + [("c.json", b"[0]"), ("d.0.jpg", b"x")]
    pack(tmp_path / "a.tar", [*members, ("d.json", b"[0]"), ("a.009.png", b"broken")])
    data = load(root=tmp_path, classes=EVENTS, **SMALL)
    named = {"a.009.png", "b (no .json)", "c (no photos)", "d.0.jpg", "d/ (no readable photo)"}
    assert set(data.skipped) == named and data.evaluation.split.names == ("a",)
    with pytest.raises(UsageError, match=r"c \(no photos\)"):
        load(root=tmp_path, classes=EVENTS, strict=True, **SMALL)


@pytest.mark.parametrize(
    ("members", "found"),
    [
        ([("a.0.png", b"x"), ("a.json", b"{")], "not JSON"), (album("a", [1], ["wake"]), "wake"),
        (album("a", [1], ["trip"]) + album("b", [1], "trip"), "one event, others"), ([("0.png", b"x")], "no album"),
        (album("a", [1], {"positive": [], "importance": {"000.png": "much"}}), "importance"),
        (album("a", [1], None) * 2, "twice"),
    ],
)  # fmt: skip
def test_malformed_shards_are_named(tmp_path, members, found) -> None:
    pack(tmp_path / "a.tar", members)
    with pytest.raises(DamagedArtifact, match=found):
        load(root=tmp_path, classes=EVENTS, **SMALL)


def test_refusals(tmp_path) -> None:
    with pytest.raises(MissingResource, match="root=FOLDER"):
        load()
    pack(tmp_path / "a.tar", [("a.json", b"[]")])
    with pytest.raises(MissingResource, match="no photos"):
        load(root=tmp_path, classes=EVENTS)
    pack(tmp_path / "a.tar", album("a", [1], ["trip"]))
    with pytest.raises(UsageError, match="give classes"):
        load(root=tmp_path)
    with pytest.raises(UsageError, match="album net"):
        load(Preprocessing((4, 4), (0.5,) * 3, (0.5,) * 3), tmp_path)
