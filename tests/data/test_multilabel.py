import io
import json
import os
import tarfile

import numpy as np
import pytest
from PIL import Image

from edgesmith.data.multilabel import load
from edgesmith.errors import DamagedArtifact, MissingResource, UntrustedFile, UsageError
from edgesmith.tensors import Preprocessing

SMALL = Preprocessing((4, 6), (0.0,) * 3, (1.0,) * 3)
CLASSES = ["cat", "dog", "eel"]


def picture(value: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (20, 10), (value, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def folder(root, count: int = 10, part: str = "labels.json", first: int = 0, pictures: str = "images"):
    labels = {f"{n}.png": [n % 3, (n + 1) % 3][: 1 + n % 2] for n in range(first, first + count)}
    (root / part).write_text(json.dumps({"classes": CLASSES, "labels": labels}))
    (root / pictures).mkdir(exist_ok=True)
    for number in range(first, first + count):
        (root / pictures / f"{number}.png").write_bytes(picture(number))
    return root


def test_a_folder_with_labels(tmp_path) -> None:
    data = load(SMALL, folder(tmp_path), images="images", holdout=0.3, calibration=4)
    assert data.classes == tuple(CLASSES) and (len(data.train), len(data.evaluation.split)) == (7, 3)
    assert data.evaluation.protocol == "multilabel" and len(data.calibration) == 4
    assert data.train.inputs["image"].shape == (7, 4, 6, 3)  # squished, whatever the aspect ratio
    for split in (data.train, data.evaluation.split):
        values = split.inputs["image"][:, 0, 0, 0]
        assert [f"{value}.png" for value in values] == list(split.names)
        assert all(split.labels[row, values[row] % 3] == 1 for row in range(len(split)))
    assert np.array_equal(data.evaluation.arrays["labels"], data.evaluation.split.labels)
    assert not set(data.train.names) & set(data.evaluation.split.names)


def test_the_same_content_has_the_same_digest(tmp_path) -> None:
    first = load(SMALL, folder(tmp_path), images="images")
    assert first.digest == load(SMALL, tmp_path, images="images").digest
    assert first.digest != load(SMALL, tmp_path, images="images", partial="rps:0.5").digest
    assert first.digest != load(SMALL, tmp_path, images="images", seed=1).digest


def test_two_parts_and_partial_labels_of_the_first(tmp_path) -> None:
    folder(tmp_path)
    folder(tmp_path, 4, "other.json", first=20)
    data = load(SMALL, tmp_path, images="images", evaluation="other.json", partial="fpc:1")
    assert (len(data.train), len(data.evaluation.split)) == (10, 4)
    assert [(data.train.labels[:, c] == v).sum() for c in range(3) for v in (0, 1)] == [1] * 6
    assert (data.evaluation.arrays["labels"] >= 0).all()


def test_unreadable_and_absent_pictures_are_named(tmp_path) -> None:
    folder(tmp_path)
    (tmp_path / "images/3.png").write_bytes(b"no picture")
    (tmp_path / "images/5.png").unlink()
    data = load(SMALL, tmp_path, images="images", holdout=0.0)
    assert data.skipped == ("3.png", "5.png") and len(data.train) == 8
    assert [f"{value}.png" for value in data.train.inputs["image"][:, 0, 0, 0]] == list(data.train.names)
    with pytest.raises(DamagedArtifact, match=r"3.png"):
        load(SMALL, tmp_path, images="images", strict=True)
    (tmp_path / "images/3.png").write_bytes(picture(3))
    with pytest.raises(DamagedArtifact, match=r"5.png"):
        load(SMALL, tmp_path, images="images", strict=True)


def test_pictures_of_an_archive(tmp_path) -> None:
    folder(tmp_path)
    with tarfile.open(tmp_path / "images.tar", "w") as tar:
        for number in (7, 2, 5):
            info = tarfile.TarInfo(f"{number}.png")
            info.size = len(picture(number))
            tar.addfile(info, io.BytesIO(picture(number)))
    data = load(SMALL, tmp_path, holdout=0.0)
    assert data.train.names == ("7.png", "2.png", "5.png") and len(data.skipped) == 7
    assert data.train.inputs["image"][:, 0, 0, 0].tolist() == [7, 2, 5]
    assert data.train.labels[0].tolist() == [0, 1, 1]  # 7: its own class and the next


def test_images_without_a_positive_label(tmp_path) -> None:
    folder(tmp_path, 4)
    raw = json.loads((tmp_path / "labels.json").read_text())
    raw["labels"]["2.png"] = []
    (tmp_path / "labels.json").write_text(json.dumps(raw))
    kept = load(SMALL, tmp_path, images="images", holdout=0.0)
    assert len(kept.train) == 4 and kept.train.labels[2].tolist() == [0, 0, 0]
    assert "2.png" not in load(SMALL, tmp_path, images="images", holdout=0.0, empty="drop").train.names
    raw["labels"] = {name: [] for name in raw["labels"]}
    (tmp_path / "labels.json").write_text(json.dumps(raw))
    with pytest.raises(UsageError, match="none of 4 images has a label"):
        load(SMALL, tmp_path, images="images", empty="drop")


def test_a_cache_gives_the_same_and_is_read_again(tmp_path) -> None:
    folder(tmp_path)
    folder(tmp_path, 4, "other.json", first=20, pictures="others")
    (tmp_path / "images/3.png").write_bytes(b"no picture")
    options = dict(images="images", evaluation="other.json", evaluation_images="others")
    plain = load(SMALL, tmp_path, **options)
    first = load(SMALL, tmp_path, cache=str(tmp_path / "c.npy"), memory_gb=1e-6 * 0.5, **options)
    stamp = os.stat(tmp_path / "c.npy").st_mtime_ns
    second = load(SMALL, tmp_path, cache=str(tmp_path / "c.npy"), **options)
    assert plain.digest == first.digest == second.digest
    assert first.skipped == second.skipped == ("3.png",) and os.stat(tmp_path / "c.npy").st_mtime_ns == stamp
    (tmp_path / "c.rows.json").write_text("{")
    with pytest.raises(DamagedArtifact, match=r"c.rows.json"):
        load(SMALL, tmp_path, cache=str(tmp_path / "c.npy"), **options)
    (tmp_path / "c.rows.json").unlink()
    assert load(SMALL, tmp_path, cache=str(tmp_path / "c.npy"), **options).digest == plain.digest
    stale = json.loads((tmp_path / "c.rows.json").read_text())
    (tmp_path / "c.rows.json").write_text(json.dumps(["another list", *stale[1:]]))  # a run broken off in between
    assert load(SMALL, tmp_path, cache=str(tmp_path / "c.npy"), **options).digest == plain.digest
    with pytest.raises(UsageError, match=r"evaluation=PART"):
        load(SMALL, tmp_path, images="images", cache=str(tmp_path / "c.npy"))


def test_a_seeded_part(tmp_path) -> None:
    folder(tmp_path)
    first, second = (load(SMALL, tmp_path, images="images", limit=4, holdout=0.0, seed=s).train.names for s in (0, 1))
    assert len(first) == len(second) == 4 and first != second


def test_refusals(tmp_path) -> None:
    with pytest.raises(MissingResource, match=r"no such folder"):
        load(SMALL, tmp_path / "absent")
    with pytest.raises(UsageError, match=r"no such format"):
        load(SMALL, tmp_path, format="yolo")
    with pytest.raises(UsageError, match=r"--preprocess"):
        load(None, tmp_path)
    folder(tmp_path)
    with pytest.raises(MissingResource, match=r"images.tar"):
        load(SMALL, tmp_path)
    with pytest.raises(UsageError, match=r"share 2"):
        load(SMALL, tmp_path, images="images", holdout=2)
    with pytest.raises(UsageError, match=r"does not have: .'cow'"):
        load(SMALL, tmp_path, images="images", classes=["cow"])
    (tmp_path / "labels.json").write_text(json.dumps({"classes": CLASSES, "labels": {"../out.png": [0]}}))
    with pytest.raises(UntrustedFile, match=r"points outside"):
        load(SMALL, tmp_path, images="images")
    (tmp_path / "labels.json").write_text(json.dumps({"classes": CLASSES, "labels": {"gone.png": [0]}}))
    with pytest.raises(MissingResource, match=r"none of 1"):
        load(SMALL, tmp_path, images="images")


@pytest.mark.needs(data="coco128")
def test_coco128() -> None:
    data = load(Preprocessing((32, 32), (0.0,) * 3, (1.0,) * 3), f"{os.environ['EDGESMITH_DATA']}/coco128", holdout=0.5)
    assert len(data.classes) == 80 and len(data.train) + len(data.evaluation.split) == 128 and data.skipped == ()
    assert data.train.labels.sum() + data.evaluation.split.labels.sum() > 300
