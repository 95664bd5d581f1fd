import errno
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgesmith import artifact
from edgesmith.artifact import (
    Exported,
    building,
    check_replaceable,
    content_key,
    load_exported,
    open_artifact,
    save_exported,
    seal,
)
from edgesmith.errors import DamagedArtifact, MissingResource, UsageError
from edgesmith.tensors import Preprocessing, TensorSpec


def exported(**changes: object) -> Exported:
    made = Exported(
        "ort-int8",
        "ort",
        "int8",
        "model.onnx",
        (TensorSpec("image", ("batch", 3, 8, 8)),),
        (TensorSpec("logits", ("batch", 5)),),
        layer_names={"conv": "node_1"},
        preprocessing=Preprocessing((8, 8), (0.5,) * 3, (0.25,) * 3),
        labels=("cat", "dog"),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "ort-int8"
    root.mkdir()
    (root / "model.onnx").write_bytes(b"weights")
    (root / "model.onnx.data").write_bytes(b"more")
    golden = {"image": np.ones((1, 3, 8, 8), np.float32)}, {"logits": np.zeros((1, 5), np.float32)}
    save_exported(root, exported(), golden)
    return root


def test_an_export_comes_back_with_its_golden_data(folder: Path):
    found = load_exported(folder)
    assert found == replace(exported(), root=folder)
    assert found.file.read_bytes() == b"weights"
    assert found.size_bytes == len(b"weights") + len(b"more")  # neither record nor golden data count
    golden = found.golden()
    assert golden is not None
    assert golden[0]["image"].shape == (1, 3, 8, 8) and golden[1]["logits"].shape == (1, 5)


def test_an_export_without_golden_data(tmp_path: Path):
    (tmp_path / "model.onnx").write_bytes(b"w")
    assert save_exported(tmp_path, exported(), None).golden() is None


@pytest.mark.parametrize("name", ["model.onnx", "model.onnx.data", "golden.npz"])
def test_damage_is_named(folder: Path, name: str):
    (folder / name).write_bytes(b"x")
    with pytest.raises(DamagedArtifact, match=f"{name} does not match"):
        load_exported(folder)
    (folder / name).unlink()
    with pytest.raises(DamagedArtifact, match=f"{name} is missing"):
        load_exported(folder)


@pytest.mark.parametrize("main", ["unlisted.onnx", "../other.onnx", "/etc/passwd"])
def test_a_main_file_that_was_not_checked_is_not_opened(folder: Path, main: str):
    record = json.loads((folder / "artifact.json").read_text())
    record["meta"]["main"] = main
    (folder / "artifact.json").write_text(json.dumps(record))
    with pytest.raises(DamagedArtifact, match="no checked file"):
        load_exported(folder)


def test_a_package_folder_can_be_the_main_file(tmp_path: Path):
    (tmp_path / "model.mlpackage" / "Data").mkdir(parents=True)
    (tmp_path / "model.mlpackage" / "Data" / "weights.bin").write_bytes(b"w")
    save_exported(tmp_path, exported(main="model.mlpackage"), None)
    assert load_exported(tmp_path).file.is_dir()


def test_another_kind_and_nothing_at_all(tmp_path: Path):
    seal(tmp_path, "ranges", "key", {})
    with pytest.raises(DamagedArtifact, match="it is a ranges"):
        load_exported(tmp_path)
    with pytest.raises(MissingResource):
        open_artifact(tmp_path / "absent")


def test_seal_lists_every_file_but_its_record(tmp_path: Path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.bin").write_bytes(b"")
    sealed = seal(tmp_path, "k", "key", {"n": np.int64(3)}, ("parent",))
    assert sealed.files == {"sub/a.bin": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}
    found = open_artifact(tmp_path)
    assert (found.key, found.meta, found.made_from, found.root) == ("key", {"n": 3}, ("parent",), tmp_path)


def test_content_key_tells_values_apart_and_ignores_the_order_of_a_table():
    assert content_key({"a": 1, "b": 2}) == content_key({"b": 2, "a": 1})
    assert len({content_key(1), content_key("1"), content_key(1, 1), content_key([1, 1])}) == 4


def test_building_replaces_the_folder_only_when_it_ends_well(tmp_path: Path):
    folder = tmp_path / "new" / "step"
    with building(folder) as work:
        (work / "a").write_text("first")
    with pytest.raises(ValueError), building(folder) as work:
        (work / "a").write_text("second")
        raise ValueError
    assert (folder / "a").read_text() == "first"
    with building(folder) as work:
        (work / "b").write_text("third")
    assert [p.name for p in folder.iterdir()] == ["b"]
    assert [p.name for p in folder.parent.iterdir()] == ["step"]


def test_a_full_disk_is_told_and_any_other_fault_is_not_called_one(tmp_path: Path):
    folder = tmp_path / "step"
    with building(folder) as work:
        (work / "a").write_text("first")
    with pytest.raises(MissingResource, match="No space left"), building(folder):
        raise OSError(errno.ENOSPC, "No space left on device", "x")
    with pytest.raises(FileNotFoundError), building(folder):
        (tmp_path / "absent").read_text()
    assert (folder / "a").read_text() == "first"
    assert [p.name for p in tmp_path.iterdir()] == ["step"]


def test_the_older_folder_comes_back_when_the_swap_fails(tmp_path: Path):
    folder = tmp_path / "step"
    folder.mkdir()
    (folder / "a").write_text("first")
    with pytest.raises(OSError):
        artifact._swap(tmp_path / "absent", folder)
    assert (folder / "a").read_text() == "first"


def test_what_is_ours_or_empty_may_be_replaced(folder: Path):
    check_replaceable(folder)
    check_replaceable(folder / "absent")
    (folder.parent / "empty").mkdir()
    check_replaceable(folder.parent / "empty")
    (folder / "model.onnx").unlink()  # spoilt, and ours
    check_replaceable(folder)
    (folder / "artifact.json").write_text("{")
    check_replaceable(folder)


def test_what_is_not_ours_is_not_replaced(folder: Path):
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"notes\.txt, which its record does not list"):
        check_replaceable(folder)
    (folder / "artifact.json").unlink()
    with pytest.raises(UsageError, match="no artefact of ours"):
        check_replaceable(folder)
    with pytest.raises(UsageError, match="no folder"):
        check_replaceable(folder / "notes.txt")
    (folder.parent / "link").symlink_to(folder)
    with pytest.raises(UsageError, match="no folder"):
        check_replaceable(folder.parent / "link")
