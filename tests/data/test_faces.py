import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from edgesmith.data.alignment import TEMPLATE
from edgesmith.data.faces import load
from edgesmith.errors import DamagedArtifact, MissingResource, UsageError
from edgesmith.tensors import Preprocessing
from edgesmith.verify.accuracy import judge

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


def test_unknown_people_use_the_listed_pictures_alone_and_make_no_strangers(tmp_path) -> None:
    write(tmp_path, pairs="\n".join(f"{a}/{a}_0001.jpg {b}/{b}_0001.jpg 0" for a, b in (("Ann", "Bob"), ("Cy", "Dee"))))
    data = load(SQUARE, tmp_path, form="paths", folds=2, people="unknown")
    arrays = data.evaluation.arrays
    assert len(data.evaluation.split) == 2 * 4 and arrays["person"].tolist() == [0] * 4
    assert arrays["fold"].tolist() == [0, 1] and not arrays["same"].any()
    assert "Ann/Ann_0002.jpg" in load(SQUARE, tmp_path, form="paths", folds=2, people="unknown").calibration.names
    assert set(load(SQUARE, tmp_path, form="paths", folds=2).evaluation.arrays["person"]) == {0, 1, 2, 3}


def test_rates_over_all_pairs_are_left_out_where_people_are_unknown(tmp_path) -> None:
    write(tmp_path, pairs="Ann/Ann_0001.jpg Ann/Ann_0002.jpg 1\nAnn/Ann_0001.jpg Bob/Bob_0001.jpg 0")
    data = load(SQUARE, tmp_path, form="paths", folds=2, people="unknown")
    outputs = np.random.default_rng(0).standard_normal((len(data.evaluation.split), 4))
    rows = {row.metric: row for row in judge("verification", data.evaluation.arrays, {"a": outputs}, "a")}
    assert rows["tar_all@1e-3"].n == 0 and rows["accuracy"].n == 2


def test_a_list_that_contradicts_the_folders_is_refused(tmp_path) -> None:
    write(tmp_path, pairs="Ann/Ann_0001.jpg Bob/Bob_0001.jpg 1\nAnn/Ann_0001.jpg Cy/Cy_0001.jpg 0")
    with pytest.raises(DamagedArtifact, match="people=unknown"):
        load(SQUARE, tmp_path, form="paths", folds=2)


def test_calibration_on_another_set(tmp_path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    write(tmp_path, {k: v for k, v in PEOPLE.items() if k in ("Ann", "Bob", "Cy", "Dee")})
    with pytest.raises(MissingResource, match="calibrate_on"):
        load(SQUARE, tmp_path)
    write(other, {"Gus": 2})
    assert {name.split("/")[0] for name in load(SQUARE, tmp_path, calibrate_on="other").calibration.names} == {"Gus"}
    assert len(load(SQUARE, tmp_path, calibrate_on="other/images.tar").calibration) == 2
    with pytest.raises(MissingResource, match="nowhere"):
        load(SQUARE, tmp_path, calibrate_on="nowhere")


def test_cfps_people_are_two_folders_up(tmp_path) -> None:
    for person in ("001", "002", "003"):
        for kind in ("frontal", "profile"):
            (tmp_path / "Data/Images" / person / kind).mkdir(parents=True)
            (tmp_path / "Data/Images" / person / kind / "01.png").write_bytes(face(int(person)))
    protocol = tmp_path / "Protocol"
    for kind in ("frontal", "profile"):
        lines = [f"{i} ../Data/Images/00{i}/{kind}/01.png" for i in (1, 2)]
        (protocol / "Split").mkdir(parents=True, exist_ok=True)
        (protocol / f"Pair_list_{kind[0].upper()}.txt").write_text("\n".join(lines))
    for fold in ("01", "02"):
        (protocol / "Split/FP" / fold).mkdir(parents=True)
        (protocol / "Split/FP" / fold / "same.txt").write_text("1,1\n")
        (protocol / "Split/FP" / fold / "diff.txt").write_text("1,2\n")
    data = load(SQUARE, tmp_path, form="cfp-fp")
    assert data.evaluation.arrays["person"].tolist() == [0, 0, 1, 1]
    assert {name.split("/")[2] for name in data.calibration.names} == {"003"}


def test_landmarks_align_pictures_of_any_size(tmp_path) -> None:
    write(tmp_path, side=224)
    names = [f"{person}/{person}_{i:04d}.jpg" for person, count in PEOPLE.items() for i in range(1, count + 1)]
    points = " ".join(f"{2 * value:.4f}" for value in TEMPLATE.ravel())
    (tmp_path / "points.txt").write_text("\n".join(f"{name} {points}" for name in names[:-1]))
    with pytest.raises(MissingResource, match="Flo_0001"):
        load(SQUARE, tmp_path, landmarks="points.txt")
    (tmp_path / "points.txt").write_text("\n".join(f"{name} {points}" for name in names))
    images = load(SQUARE, tmp_path, landmarks="points.txt").calibration.inputs["image"]
    assert images.shape[1:] == (112, 112, 3) and images[0, 50, :, 1].tolist() == list(range(0, 224, 2))


def test_training_people_stand_in_no_pair(tmp_path) -> None:
    """Ann, Bob, Cy and Dee are judged; another set's people are classes of their own, also under the same name."""
    for place in ("lfw", "more"):
        (tmp_path / place).mkdir()
    write(tmp_path / "lfw")
    write(tmp_path / "more", {"Ann": 2, "Zoe": 1})
    data = load(SQUARE, tmp_path, "lfw", train_on=["more", "lfw"])
    assert data.classes == ("lfw/Eve", "lfw/Flo", "more/Ann", "more/Zoe")
    assert np.bincount(data.train.labels).tolist() == [2, 1, 2, 1] and len(data.train) == 6
    assert data.train.names[0] == "more/Ann/Ann_0001.jpg" and data.train.inputs["image"][0, 0, 0, 0] == 1
    assert data.digest != load(SQUARE, tmp_path, "lfw").digest
    assert load(SQUARE, tmp_path, "lfw").train is None


def test_a_list_names_the_training_pictures(tmp_path) -> None:
    (tmp_path / "lfw").mkdir()
    write(tmp_path / "lfw")
    (tmp_path / "kept.txt").write_text("lfw/Flo/Flo_0001.jpg\nlfw/Eve/Eve_0002.jpg\n")
    data = load(SQUARE, tmp_path, "lfw", train_on=["lfw"], train_list="kept.txt")
    assert data.train.names == ("lfw/Eve/Eve_0002.jpg", "lfw/Flo/Flo_0001.jpg")
    (tmp_path / "kept.txt").write_text("lfw/Ann/Ann_0001.jpg\n")
    with pytest.raises(MissingResource, match="stand in a pair"):
        load(SQUARE, tmp_path, "lfw", train_on=["lfw"], train_list="kept.txt")
    (tmp_path / "kept.txt").write_text("")
    with pytest.raises(MissingResource, match="no picture is left"):
        load(SQUARE, tmp_path, "lfw", train_on=["lfw"], train_list=str(tmp_path / "kept.txt"))
    with pytest.raises(MissingResource, match="no such list"):
        load(SQUARE, tmp_path, "lfw", train_on=["lfw"], train_list="other.txt")
