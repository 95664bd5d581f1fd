import pickle

import pytest
import torch

from edgesmith.compress.checkpoint import NAME, Checkpoint, read_checkpoint, write_checkpoint
from edgesmith.errors import DamagedArtifact, UsageError


def checkpoint(asked: str = "a") -> Checkpoint:
    return Checkpoint(2, asked, {"w": torch.ones(3)}, [{"state": {}}], [{"epoch": 1, "accuracy": None}])


def test_what_is_written_is_read_and_nothing_lies_around(tmp_path) -> None:
    write_checkpoint(tmp_path / "run", checkpoint())
    back = read_checkpoint(tmp_path / "run", "a")
    assert torch.equal(back.task["w"], torch.ones(3)) and back.history == checkpoint().history and back.epoch == 2
    assert [path.name for path in (tmp_path / "run").iterdir()] == [NAME]


def test_none_yet(tmp_path) -> None:
    assert read_checkpoint(tmp_path, "a") is None


def test_another_training_is_refused(tmp_path) -> None:
    write_checkpoint(tmp_path, checkpoint())
    with pytest.raises(UsageError, match="other settings"):
        read_checkpoint(tmp_path, "b")


class Bomb:
    def __init__(self, path) -> None:
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize("how", ["cut", "empty", "garbage", "hostile", "flipped", "other", "format"])
def test_a_bad_file_is_damaged_and_not_run(tmp_path, how) -> None:
    write_checkpoint(tmp_path, checkpoint())
    path = tmp_path / NAME
    whole = path.read_bytes()
    wrong = {"cut": whole[: len(whole) // 2], "empty": b"", "garbage": b"x" * 500, "flipped": b"\0" * 64 + whole[64:]}
    if how in wrong:
        path.write_bytes(wrong[how])
    if how == "hostile":
        path.write_bytes(pickle.dumps(Bomb(tmp_path / "boom")))
        torch.save({"format": 1, "epoch": Bomb(tmp_path / "boom")}, path)
    if how in ("other", "format"):
        torch.save({"w": 1} if how == "other" else {"format": 99}, path)
    with pytest.raises(DamagedArtifact, match="delete it"):
        read_checkpoint(tmp_path, "a")
    assert not (tmp_path / "boom").exists()
