import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from edgesmith.data.faces import load, read_pairs
from edgesmith.errors import DamagedArtifact, MissingResource, UsageError
from edgesmith.tensors import Preprocessing

SQUARE = Preprocessing((112, 112), (0.5,) * 3, (0.5,) * 3)
NARROW = Preprocessing((112, 96), (0.5,) * 3, (0.5,) * 3)
PAIRS = "2\t1\nAnn\t1\t2\nAnn\t1\tBob\t1\nCy\t1\t2\nCy\t2\tDee\t1\n"
PEOPLE = {"Ann": 3, "Bob": 1, "Cy": 2, "Dee": 1, "Eve": 2, "Flo": 1}


def face(value: int, side: int = 112) -> bytes:
    columns = np.broadcast_to(np.arange(side, dtype=np.uint8)[None, :, None], (side, side, 3)).copy()
    columns[..., 0] = value
    buffer = io.BytesIO()
    Image.fromarray(columns).save(buffer, "PNG")  # lossless content under LFW's names
    return buffer.getvalue()


def write(root, people=PEOPLE, side: int = 112, pairs: str = PAIRS):
    with tarfile.open(root / "images.tar", "w") as tar:
        for index, (person, count) in enumerate(people.items()):
            for number in range(1, count + 1):
                content = face(10 * index + number, side)
                info = tarfile.TarInfo(f"{person}/{person}_{number:04d}.jpg")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    (root / "pairs.txt").write_text(pairs)
    return root


def test_pairs_rows_persons_and_folds(tmp_path) -> None:
    data = load(SQUARE, write(tmp_path))
    arrays, names = data.evaluation.arrays, data.evaluation.split.names
    shown = [(names[a][-8:-4], names[b][-8:-4], names[a][:2], names[b][:2]) for a, b in arrays["pairs"]]
    assert shown == [
        ("0001", "0002", "An", "An"),
        ("0001", "0001", "An", "Bo"),
        ("0001", "0002", "Cy", "Cy"),
        ("0002", "0001", "Cy", "De"),
    ]
    assert arrays["same"].tolist() == [True, False, True, False] and arrays["fold"].tolist() == [0, 0, 1, 1]
    assert np.bincount(arrays["person"]).tolist() == [3, 1, 2, 1]


def test_mirror_images_follow_the_plain_ones(tmp_path) -> None:
    images = load(SQUARE, write(tmp_path)).evaluation.split.inputs["image"]
    assert images.shape == (14, 112, 112, 3)
    assert np.array_equal(images[7:], images[:7, :, ::-1])


def test_calibration_takes_only_people_in_no_pair(tmp_path) -> None:
    data = load(SQUARE, write(tmp_path))
    assert {name.split("/")[0] for name in data.calibration.names} == {"Eve", "Flo"}
    assert len(load(SQUARE, tmp_path, calibration=2).calibration) == 2


def test_the_narrow_template_is_a_column_crop(tmp_path) -> None:
    images = load(NARROW, write(tmp_path)).calibration.inputs["image"]
    assert images.shape[1:] == (112, 96, 3) and images[0, 0, :, 1].tolist() == list(range(8, 104))


def test_a_limit_keeps_whole_folds_but_not_their_people_for_calibration(tmp_path) -> None:
    data = load(SQUARE, write(tmp_path), limit=1)
    assert len(data.evaluation.arrays["pairs"]) == 2 and len(data.evaluation.split) == 2 * 4
    assert {name.split("/")[0] for name in data.calibration.names} == {"Eve", "Flo"}


def test_unpacked_pictures_load_alike(tmp_path) -> None:
    write(tmp_path)
    packed = load(SQUARE, tmp_path)
    with tarfile.open(tmp_path / "images.tar") as tar:
        tar.extractall(tmp_path, filter="data")
    (tmp_path / "images.tar").unlink()
    assert load(SQUARE, tmp_path).digest == packed.digest


def test_an_absent_picture_is_named(tmp_path) -> None:
    with pytest.raises(MissingResource, match="Dee_0001"):
        load(SQUARE, write(tmp_path, {k: v for k, v in PEOPLE.items() if k != "Dee"}))


def test_faces_that_are_not_aligned_are_refused(tmp_path) -> None:
    with pytest.raises(UsageError, match="five points"):
        load(SQUARE, write(tmp_path, side=100))


def test_preprocessing_and_root_are_needed(tmp_path) -> None:
    with pytest.raises(UsageError, match="--preprocess"):
        load(None, write(tmp_path))
    with pytest.raises(MissingResource, match=r"pairs\.txt"):
        load(SQUARE, tmp_path / "elsewhere")


@pytest.mark.parametrize(
    "text", ["", "x\t1\n", "2\t1\nAnn\t1\t2\n", PAIRS.replace("Cy\t1\t2", "Cy\t1"), PAIRS.replace("\t2\n", "\tz\n")]
)
def test_a_broken_list_of_pairs_is_damaged(tmp_path, text) -> None:
    (tmp_path / "pairs.txt").write_text(text)
    with pytest.raises(DamagedArtifact):
        read_pairs(tmp_path / "pairs.txt")
