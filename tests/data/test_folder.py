import numpy as np
import pytest
from PIL import Image

from edgesmith.data.folder import load
from edgesmith.errors import DamagedArtifact, MissingResource, UsageError
from edgesmith.tensors import Preprocessing

PREPROCESSING = Preprocessing((6, 8), (0.5,) * 3, (0.5,) * 3)


def draw(path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 10), (value, value, value)).save(path)


@pytest.fixture
def flat(tmp_path):
    for index in range(5):
        draw(tmp_path / f"{index}.png", index)
    return tmp_path


@pytest.fixture
def classed(tmp_path):
    for index in range(10):
        draw(tmp_path / "dog" / f"{index}.png", 100 + index)
        draw(tmp_path / "cat" / f"{index}.JPG", index)
    return tmp_path


def test_loose_pictures_have_no_labels(flat) -> None:
    data = load(PREPROCESSING, flat, calibration=3)
    assert data.evaluation.protocol == "agreement" and data.evaluation.split.names == tuple(
        f"{i}.png" for i in range(5)
    )
    assert data.evaluation.split.inputs["image"].shape == (5, 6, 8, 3) and len(data.calibration) == 3


def test_sub_folders_are_classes_by_name(classed) -> None:
    data = load(PREPROCESSING, classed, holdout=0.3)
    images, labels = data.train.inputs["image"], data.train.labels
    assert data.classes == ("cat", "dog") and len(data.train) == 14
    assert (images[labels == 1] >= 100).all() and (images[labels == 0] < 50).all()


def test_given_classes_number_the_sub_folders(classed) -> None:
    data = load(PREPROCESSING, classed, holdout=1.0, classes=("dog", "bird", "cat"))
    assert set(data.evaluation.arrays["labels"].tolist()) == {0, 2}
    with pytest.raises(UsageError, match="dog"):
        load(PREPROCESSING, classed, classes=("cat",))


def test_a_corrupt_file_is_skipped_and_named_or_refused(classed) -> None:
    (classed / "cat" / "bad.png").write_bytes(b"\x89PNG nothing")
    data = load(PREPROCESSING, classed)
    assert data.skipped == ("cat/bad.png",) and len(data.train) + len(data.evaluation.split) == 20
    with pytest.raises(DamagedArtifact, match=r"bad\.png"):
        load(PREPROCESSING, classed, strict=True)


def test_labels_stay_with_their_pictures_when_one_is_skipped(classed) -> None:
    (classed / "cat" / "00.png").write_bytes(b"")
    data = load(PREPROCESSING, classed, holdout=1.0)
    bright = data.evaluation.split.inputs["image"].mean((1, 2, 3)) >= 99
    assert np.array_equal(bright, data.evaluation.arrays["labels"] == 1)


def test_a_limit_takes_a_seeded_part(flat) -> None:
    names = load(PREPROCESSING, flat, limit=2).evaluation.split.names
    assert len(names) == 2 and names == load(PREPROCESSING, flat, limit=2).evaluation.split.names


def test_no_preprocessing_exits_with_2(flat) -> None:
    with pytest.raises(UsageError, match="--preprocess") as caught:
        load(None, flat)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("fill", ["nothing", "text", "absent", "all broken"])
def test_no_picture_is_a_missing_resource(tmp_path, fill) -> None:
    if fill == "text":
        (tmp_path / "a.txt").write_text("x")
    if fill == "all broken":
        (tmp_path / "a.png").write_bytes(b"x")
    with pytest.raises(MissingResource):
        load(PREPROCESSING, tmp_path / "absent" if fill == "absent" else tmp_path)


def test_loose_pictures_beside_classes_are_ambiguous(classed) -> None:
    draw(classed / "loose.png", 3)
    with pytest.raises(UsageError, match="beside"):
        load(PREPROCESSING, classed)
