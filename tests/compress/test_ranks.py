"""One process alone; several are in test_engine.py and test_partial_fc.py."""

import pytest
import torch

from edgesmith.compress.ranks import Ranks, launched, ranks, start, together
from edgesmith.errors import TrainingFailed


def test_one_process_talks_to_itself() -> None:
    among = start()
    values = torch.tensor([1.0, 2.0])
    among.sum(values)
    among.spread(values)
    assert among == ranks() == Ranks() and not launched()
    assert values.tolist() == [1.0, 2.0] and among.numbers(3, 4) == [[3.0, 4.0]] and among.tell(5) == 5
    among.same("do it", "anything")
    with among.first(), together() as alone:
        assert alone == Ranks()


def test_only_what_several_processes_lose_is_called_lost() -> None:
    gone = RuntimeError("[gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:1")
    with (
        pytest.raises(TrainingFailed, match=r"train on rank 1 of 2: .*another rank is gone"),
        Ranks(1, 2).watched("train"),
    ):
        raise gone
    with pytest.raises(RuntimeError, match="shapes"), Ranks(1, 2).watched("train"):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    with pytest.raises(RuntimeError, match="Connection"), Ranks().watched("train"):
        raise gone


def test_torchrun_is_known_by_its_environment(monkeypatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert not launched()
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert launched()
