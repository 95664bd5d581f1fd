from __future__ import annotations

import csv
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgesmith.data import DATASETS
from edgesmith.data.albums import CUFED, load
from edgesmith.errors import DamagedArtifact, MissingResource, UsageError

SMALL = {"size": 8, "photos": 3, "pool": 6, "holdout": 1.0}


def photo(path: Path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((10, 14, 3), value, np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two weddings of 2 and 9 photos and a zoo of 1; in the order of names, zoo comes last."""
    for index in range(2):
        photo(tmp_path / "set/Wedding/w1" / f"{index}.png", 10 + index)
    for index in range(9):
        photo(tmp_path / "set/Wedding/w2" / f"{index}.png", 100 + index)
    photo(tmp_path / "set/Zoo/z1/only.png", 200)
    return tmp_path / "set"


def test_albums_are_read_in_the_order_of_their_photos(folder: Path) -> None:
    data = load(root=folder, **SMALL)
    inputs = data.evaluation.split.inputs
    assert data.evaluation.split.names == ("Wedding/w1", "Wedding/w2", "Zoo/z1") and data.train is None
    assert inputs["photos"].shape == (3, 3, 8, 8, 3) and inputs["mask"].tolist() == [[1, 1, 0], [1, 1, 1], [1, 0, 0]]
    assert inputs["photos"][0, :, 0, 0, 0].tolist() == [10, 11, 0] and inputs["photos"][2, 0].min() == 200
    assert (np.diff(inputs["photos"][1, :, 0, 0, 0].astype(int)) > 0).all()
    assert DATASETS.get("albums") is load and data.skipped == ()


def test_events_are_numbered_by_the_given_classes_not_by_the_folders(folder: Path) -> None:
    assert load(root=folder, **SMALL).evaluation.arrays["labels"].tolist() == [0, 0, 1]
    data = load(root=folder, classes="cufed", **SMALL)
    assert data.classes == CUFED and len(CUFED) == len(set(CUFED)) == 23
    assert [CUFED[label] for label in data.evaluation.arrays["labels"]] == ["Wedding", "Wedding", "Zoo"]
    with pytest.raises(UsageError, match="Zoo"):
        load(root=folder, classes=["Wedding", "Birthday"], **SMALL)


def test_a_tar_archive_is_the_same_data(folder: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "set.tar", "w") as tar:
        for path in sorted(folder.rglob("*.png")):
            tar.add(path, path.relative_to(folder).as_posix())
    assert load(root=tmp_path / "set.tar", **SMALL).digest == load(root=folder, **SMALL).digest


def test_an_album_of_a_thousand_photos_is_sampled_down(tmp_path: Path) -> None:
    first = tmp_path / "set/Zoo/big/0000.png"
    photo(first, 7)
    for index in range(1, 1000):
        (first.parent / f"{index:04d}.png").hardlink_to(first)
    data = load(root=tmp_path / "set", size=4, photos=3, pool=16, holdout=0.0)
    assert data.train.inputs["photos"].shape == (1, 16, 4, 4, 3) and data.calibration.inputs["mask"].all()


def test_several_events_an_album_from_json_or_csv(folder: Path, tmp_path: Path) -> None:
    listed = {"Wedding/w1": ["party"], "w2": ["party", "zoo"], "z1": []}
    (tmp_path / "events.json").write_text(json.dumps(listed))
    data = load(root=folder, classes=["zoo", "party"], events=tmp_path / "events.json", **SMALL)
    assert data.evaluation.protocol == "albums-multilabel"
    assert data.evaluation.arrays["labels"].tolist() == [[0, 1], [1, 1], [0, 0]]
    with (tmp_path / "events.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerows([("album", "events"), *((name, "; ".join(own)) for name, own in listed.items())])
    again = load(root=folder, classes=["zoo", "party"], events=tmp_path / "events.csv", **SMALL)
    assert again.digest == data.digest
    with pytest.raises(UsageError, match="order"):
        load(root=folder, events=tmp_path / "events.csv", **SMALL)
    (tmp_path / "events.json").write_text(json.dumps({"w1": ["party"]}))
    left = load(root=folder, classes=["party"], events=tmp_path / "events.json", **SMALL)
    assert left.evaluation.split.names == ("Wedding/w1",) and len(left.skipped) == 2
    assert "Zoo/z1/ (in no list of events)" in left.skipped


def test_albums_without_events_ask_for_agreement(folder: Path) -> None:
    data = load(root=folder / "Wedding", **SMALL)
    assert data.evaluation.protocol == "agreement" and data.train is None and len(data.evaluation.split) == 2


def test_importance_is_of_the_photos_that_were_chosen(folder: Path, tmp_path: Path) -> None:
    scores = {f"Wedding/w2/{index}.png": index / 10 for index in range(9)} | {"Wedding/w1/0.png": 0.5}
    (tmp_path / "scores.json").write_text(json.dumps(scores))
    data = load(root=folder, importance=tmp_path / "scores.json", **SMALL)
    truth, photos = data.evaluation.arrays["importance"], data.evaluation.split.inputs["photos"]
    assert np.allclose(truth[1], (photos[1, :, 0, 0, 0].astype(int) - 100) / 10)
    assert truth[0, 0] == 0.5 and np.isnan(truth[0, 1:]).all() and np.isnan(truth[2]).all()
    (tmp_path / "scores.csv").write_text("photo,importance\nWedding/w1/0.png,much\n")
    with pytest.raises(DamagedArtifact, match="number a photo"):
        load(root=folder, importance=tmp_path / "scores.csv", **SMALL)


def test_bad_photos_and_empty_albums_are_skipped_and_named(folder: Path) -> None:
    (folder / "Wedding/w1/1.png").write_bytes(b"not a picture")
    (folder / "Zoo/empty").mkdir()
    photo(folder / "Zoo/broken/0.png", 1)
    (folder / "Zoo/broken/0.png").write_bytes(b"")
    data = load(root=folder, **SMALL)
    empty = {"Zoo/empty/ (no photos)", "Zoo/broken/ (no readable photo)"}
    assert set(data.skipped) == {"Wedding/w1/1.png", "Zoo/broken/0.png", *empty}
    assert len(data.evaluation.split) == 3 and data.evaluation.split.inputs["mask"][0].tolist() == [1, 0, 0]
    with pytest.raises(UsageError, match="Zoo/empty"):
        load(root=folder, strict=True, **SMALL)
    (folder / "Zoo/empty").rmdir()
    with pytest.raises(DamagedArtifact, match="png"):
        load(root=folder, strict=True, **SMALL)


@pytest.mark.parametrize("problem", ["absent", "none", "loose", "unreadable", "bad table", "no table"])
def test_what_is_no_set_of_albums_is_named(tmp_path: Path, problem: str) -> None:
    root, options, error = tmp_path / "set", {}, MissingResource
    if problem != "absent":
        root.mkdir()
    if problem == "loose":
        photo(root / "0.png", 1)
    if problem == "unreadable":
        (root / "Zoo/a").mkdir(parents=True)
        (root / "Zoo/a/0.png").write_bytes(b"x")
    if problem in ("bad table", "no table"):
        photo(root / "a/0.png", 1)
        options = {"events": tmp_path / "events.csv", "classes": ["x"]}
    if problem == "bad table":
        (tmp_path / "events.csv").write_text("name,what\na,b\n")
        error = DamagedArtifact
    with pytest.raises(error):
        load(root=root, **options, **SMALL)


@pytest.mark.needs(data="albums")
def test_the_real_albums_are_events_of_cufed() -> None:
    import os

    root = Path(os.environ["EDGESMITH_DATA"]) / "albums" / "albums.tar"
    data = load(root=root, classes="cufed", size=8, photos=4, pool=8, holdout=1.0)
    assert len(data.evaluation.split) == 4 and data.skipped == ()
