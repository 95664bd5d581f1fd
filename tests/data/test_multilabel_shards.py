import json

import pytest

from edgesmith.data.multilabel_shards import load
from edgesmith.errors import DamagedArtifact, MissingResource, UsageError
from tests.data.test_shards import SMALL, pack, picture

CLASSES = ["cat", "dog", "eel"]


def shard(path, first: int, entries) -> None:
    members = []
    for number, entry in enumerate(entries, first):
        members += [(f"{number:03d}.png", picture(number)), (f"{number:03d}.json", json.dumps(entry).encode())]
    pack(path, members)


def test_labels_of_shards(tmp_path) -> None:
    shard(tmp_path / "t-0.tar", 0, [["cat"], [2, "dog"]])
    shard(tmp_path / "t-1.tar", 2, [[], {"positive": ["eel"], "negative": ["dog"]}])
    shard(tmp_path / "e.tar", 9, [["dog"]])
    data = load(SMALL, CLASSES, tmp_path, "t-*.tar", evaluation="e.tar")
    assert data.train.labels.tolist() == [[1, 0, 0], [0, 1, 1], [0, 0, 0], [-1, 0, 1]]
    assert data.train.inputs["image"][:, 0, 0, 0].tolist() == [0, 1, 2, 3] and data.train.names[3] == "003"
    assert data.evaluation.protocol == "multilabel" and data.evaluation.arrays["labels"].tolist() == [[0, 1, 0]]
    assert data.classes == tuple(CLASSES)
    assert len(load(SMALL, CLASSES, tmp_path, "t-*.tar", holdout=0.5).train) == 2


def test_an_unreadable_picture_is_named(tmp_path) -> None:
    pack(tmp_path / "a.tar", [("0.jpg", b"none"), ("0.json", b"[0]"), ("1.png", picture(1)), ("1.json", b"[1]")])
    data = load(SMALL, CLASSES, tmp_path, holdout=0.0)
    assert data.skipped == ("0",) and data.train.names == ("1",) and data.train.labels.tolist() == [[0, 1, 0]]
    with pytest.raises(DamagedArtifact, match="read image 0"):
        load(SMALL, CLASSES, tmp_path, strict=True)


def test_a_cache_holds_the_training_pixels(tmp_path) -> None:
    shard(tmp_path / "t.tar", 0, [["cat"], ["dog"], ["eel"]])
    shard(tmp_path / "e.tar", 9, [["dog"]])
    plain = load(SMALL, CLASSES, tmp_path, "t.tar", "e.tar")
    for _ in range(2):
        kept = load(SMALL, CLASSES, tmp_path, "t.tar", "e.tar", cache=str(tmp_path / "p.npy"))
        assert kept.digest == plain.digest


@pytest.mark.parametrize(
    ("members", "found"),
    [
        ([("0.png", b"x")], "no .json"), ([("0.json", b"[]")], "no picture"),
        ([("0.png", b"x"), ("0.json", b"{")], "not JSON"), ([("0.png", b"x"), ("0.json", b"[3]")], "class 3"),
        ([("0.png", b"x"), ("0.json", b'"cat"')], "sample 0"),
    ],
)  # fmt: skip
def test_malformed_samples_are_named(tmp_path, members, found) -> None:
    pack(tmp_path / "a.tar", members)
    with pytest.raises(DamagedArtifact, match=found):
        load(SMALL, CLASSES, tmp_path)


def test_refusals(tmp_path) -> None:
    with pytest.raises(MissingResource, match="root=FOLDER"):
        load(SMALL, CLASSES)
    pack(tmp_path / "a.tar", [])
    with pytest.raises(MissingResource, match="no samples"):
        load(SMALL, CLASSES, tmp_path)
    with pytest.raises(UsageError, match="evaluation=PATTERN"):
        load(SMALL, CLASSES, tmp_path, cache="x.npy")
