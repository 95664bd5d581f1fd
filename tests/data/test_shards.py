import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from edgesmith.data.shards import load, samples, shard_paths
from edgesmith.errors import DamagedArtifact, MissingResource, UntrustedFile, UsageError
from edgesmith.tensors import Preprocessing

SMALL = Preprocessing((4, 4), (0.5,) * 3, (0.5,) * 3)


def picture(value: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (value, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def pack(path, members) -> None:
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def shard(path, first: int, count: int, classes: int = 2, labels: bool = True) -> None:
    members = []
    for number in range(first, first + count):
        members.append((f"a/{number:04d}.png", picture(number)))
        if labels:
            members.append((f"a/{number:04d}.cls", f"{number % classes}\n".encode()))
    pack(path, members)


def test_files_with_one_stem_are_a_sample(tmp_path) -> None:
    names = ["./x.1/a.seg.png", "x.1/a.JPG", "x.1/b.jpg", "readme", "x.1/.hidden", "c.cls"]
    pack(tmp_path / "s.tar", [(name, name.encode()) for name in names])
    found = list(samples([tmp_path / "s.tar"]))
    assert [(sample.key, sorted(sample.files)) for sample in found] == [
        ("x.1/a", ["jpg", "seg.png"]), ("x.1/b", ["jpg"]), ("c", ["cls"])
    ]  # fmt: skip
    assert found[0].picture() == b"x.1/a.JPG"
    with pytest.raises(DamagedArtifact, match="no picture"):
        found[2].picture()


def test_samples_come_one_by_one(tmp_path) -> None:
    shard(tmp_path / "s0.tar", 0, 3)
    (tmp_path / "s1.tar").write_bytes(b"not an archive" * 100)
    stream = samples([tmp_path / "s0.tar", tmp_path / "s1.tar"])
    assert [next(stream).key for _ in range(3)] == ["a/0000", "a/0001", "a/0002"]
    with pytest.raises(DamagedArtifact, match=r"s1\.tar"):
        next(stream)


def test_braces_and_stars_name_shards(tmp_path) -> None:
    for number in (8, 9, 10):
        shard(tmp_path / f"t-{number:03d}.tar", number, 1)
    assert [path.name for path in shard_paths(tmp_path, "t-{009..010}.tar")] == ["t-009.tar", "t-010.tar"]
    assert len(shard_paths(tmp_path, "t-*.tar")) == 3
    with pytest.raises(MissingResource, match=r"t-011\.tar"):
        shard_paths(tmp_path, "t-{009..011}.tar")
    with pytest.raises(MissingResource, match=r"v\*"):
        shard_paths(tmp_path, "v*.tar")


def test_a_part_is_held_out_or_other_shards_are(tmp_path) -> None:
    shard(tmp_path / "t0.tar", 0, 6)
    shard(tmp_path / "t1.tar", 6, 4)
    data = load(SMALL, tmp_path, holdout=0.2, calibration=3)
    assert (len(data.train), len(data.evaluation.split), len(data.calibration)) == (8, 2, 3)
    rows = data.train.inputs["image"][:, 0, 0, 0]
    assert np.array_equal(data.train.labels, rows % 2) and data.classes == ("0", "1")
    data = load(SMALL, tmp_path, shards="t0.tar", evaluation="t1.tar")
    assert data.train.inputs["image"][:, 0, 0, 0].tolist() == list(range(6))
    assert data.evaluation.split.names[0] == "a/0006" and data.evaluation.arrays["labels"].tolist() == [0, 1, 0, 1]


def test_pixels_in_a_cache(tmp_path) -> None:
    shard(tmp_path / "t0.tar", 0, 6)
    shard(tmp_path / "v0.tar", 6, 4)
    options = {"shards": "t*.tar", "evaluation": "v*.tar"}
    cached = load(SMALL, tmp_path, cache=str(tmp_path / "c.npy"), **options)
    assert isinstance(cached.train.inputs["image"], np.memmap)
    assert cached.digest == load(SMALL, tmp_path, **options).digest
    with pytest.raises(UsageError, match="evaluation"):
        load(SMALL, tmp_path, cache=str(tmp_path / "c.npy"))


def test_without_labels_agreement_is_judged(tmp_path) -> None:
    shard(tmp_path / "t.tar", 0, 4, labels=False)
    data = load(SMALL, tmp_path, calibration=2)
    assert data.train is None and data.evaluation.protocol == "agreement" and len(data.evaluation.split) == 4


@pytest.mark.parametrize(
    ("members", "error"),
    [
        ([("../a.png", picture(1))], UntrustedFile),
        ([("a.png", b"no picture"), ("a.cls", b"0")], DamagedArtifact),
        ([("a.png", picture(1)), ("a.cls", b"cat")], DamagedArtifact),
        ([("a.png", picture(1)), ("a.cls", b"0"), ("b.png", picture(1))], DamagedArtifact),
        ([("a.png", picture(1)), ("a.png", picture(2))], DamagedArtifact),
        ([("a.cls", b"0")], DamagedArtifact),
        ([], MissingResource),
    ],
)
def test_broken_shards(tmp_path, members, error) -> None:
    pack(tmp_path / "t.tar", members)
    with pytest.raises(error):
        load(SMALL, tmp_path)


def test_wrong_options(tmp_path) -> None:
    shard(tmp_path / "t.tar", 0, 4)
    shard(tmp_path / "u.tar", 0, 4, labels=False)
    with pytest.raises(UsageError, match="--preprocess"):
        load(None, tmp_path)
    with pytest.raises(MissingResource, match="root"):
        load(SMALL)
    with pytest.raises(UsageError, match="name all classes"):
        load(SMALL, tmp_path, shards="t.tar", classes=("one",))
    with pytest.raises(UsageError, match="labelled shards"):
        load(SMALL, tmp_path, shards="t.tar", evaluation="u.tar")
