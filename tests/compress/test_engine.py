"""Training in two processes: the same as in one, resumed exactly, and every mistake said by both."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from edgesmith.compress.engine import clip, make_fabric, synced_norms
from edgesmith.compress.ranks import Ranks
from edgesmith.compress.task import Plain
from edgesmith.errors import UsageError
from tests.compress import several
from tests.models import tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("two")


@pytest.fixture(scope="module")
def two(folder) -> list[dict]:
    found = several.run(folder)
    assert None not in found
    return found


@pytest.fixture(scope="module")
def one(tmp_path_factory) -> dict:
    return several.same_as_one(tmp_path_factory.mktemp("one"))


@pytest.mark.parametrize("name", ["plain", "faces", "search"])
def test_two_processes_train_what_one_trains(one, two, name) -> None:
    """Without batch norm: also with clipping, an average of the weights, phases, pruning, and centres in two places."""
    for rank in two:
        found = rank["same_as_one"][name]
        assert found["losses"] == pytest.approx(one[name]["losses"], rel=1e-5)
        assert found["net"].keys() == one[name]["net"].keys()
        for key, value in one[name]["net"].items():
            assert torch.allclose(found["net"][key], value, rtol=1e-4, atol=1e-6), key


def test_a_resumed_training_ends_with_the_same_bits_on_every_rank(two) -> None:
    assert [rank["resumed"] for rank in two] == [{"faces": True, "search": True, "distil": True}] * 2


def test_ranks_with_batch_norm_end_with_one_net_and_the_first_alone_reports(two, folder) -> None:
    first, second = (rank["norms"] for rank in two)
    assert all(torch.equal(first["net"][key], second["net"][key]) for key in first["net"])
    assert (first["reported"], second["reported"]) == ([1, 2, 3], [])
    assert sorted(path.name for path in (folder / "norms").iterdir()) == ["last.ckpt", "log.csv"]
    assert len((folder / "norms" / "log.csv").read_text().splitlines()) == 4


def test_centres_in_several_places_leave_one_share_a_rank(folder, two) -> None:
    assert sorted(path.name for path in (folder / "faces").iterdir()) == ["last-3-rank1.ckpt", "last.ckpt", "log.csv"]


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("nan", "TrainingFailed: .*epoch 1, step 3, rank 1: term 'gap' is nan"),
        ("size", r"TrainingFailed: .*epoch 1, step 3: batches of \[4, 3\] samples"),
        ("drifts", r"TrainingFailed: .*weights of ranks \[1\] are not those of rank 0"),
        ("terms", r"TrainingFailed: .*ranks \[1\] took other steps or named other terms"),
        ("settings", r"UsageError: .*ranks \[1\] were given something else than rank 0"),
        ("data", r"UsageError: .*ranks \[1\] were given something else than rank 0"),
        ("batch", "UsageError: train in 2 processes: batch 9; .*a multiple of 2"),
        ("sync_bn", "UsageError: sync_bn: .*GPUs only"),
        ("still fine", "^nothing$"),
    ],
)
def test_every_rank_says_what_one_did(two, how, said) -> None:
    for rank in two:
        assert re.search(said, rank["faults"][how]), rank["faults"][how]


def test_a_rank_that_dies_ends_the_others(tmp_path) -> None:
    first, second = several.run(tmp_path, "dies")
    assert second is None and "TrainingFailed: train on rank 0 of 2" in first["text"] and first["seconds"] < 20
    assert not (tmp_path / "lost" / "last.ckpt").exists()


def test_processes_that_torchrun_did_not_start_are_refused() -> None:
    with pytest.raises(UsageError, match="torchrun"):
        make_fabric("cpu", "32-true", Ranks(0, 2))


def test_clipping_bounds_the_norm_and_leaves_what_is_small() -> None:
    weights = [nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(2, 2))]
    optimizer = torch.optim.SGD(weights, lr=1.0)
    for largest, norm in ((1.0, 1.0), (50.0, 10.0)):
        weights[0].grad, weights[1].grad = torch.tensor([6.0, 0, 0]), torch.tensor([[8.0, 0], [0, 0]])
        clip(optimizer, largest, set(), Ranks())
        assert torch.cat([w.grad.flatten() for w in weights]).norm() == pytest.approx(norm, rel=1e-4)


def test_synchronised_norms_are_plain_again_afterwards_with_what_they_learned() -> None:
    task = Plain(tiny("depthwise"))
    kinds = [type(part) for part in task.modules()]
    weights = dict(task.named_parameters())
    with synced_norms(task, True, Ranks(0, 2), torch.device("cuda")):
        synced = [part for part in task.modules() if isinstance(part, nn.SyncBatchNorm)]
        assert len(synced) == 3
        synced[0].running_mean.fill_(7.0)
    assert [type(part) for part in task.modules()] == kinds and task.student.expand_bn.running_mean.eq(7.0).all()
    assert all(parameter is weights[name] for name, parameter in task.named_parameters())
