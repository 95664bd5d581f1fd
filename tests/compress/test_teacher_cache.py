import numpy as np
import pytest
import torch

from edgesmith.compress.distil import distil
from edgesmith.compress.head_sharing import th_kd
from edgesmith.compress.task import Batch, Parts
from edgesmith.compress.teacher_cache import FOLDER
from edgesmith.errors import TrainingFailed, UsageError
from tests.compress.training import images, net, parts, trained
from tests.models import tiny

WEIGHTS = {"kd": 1.0, "th": 0.5, "l2": 0.5, "crd": 0.1}


def files(folder):
    return sorted((folder / FOLDER).rglob("*.npy"))


@pytest.mark.parametrize("augment", ["none", "flip"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_losses_are_those_without_the_cache(tmp_path, augment, channels_last) -> None:
    options = {"augment": augment, "channels_last": channels_last}
    plain = trained(distil(parts(4, 6), **WEIGHTS), tmp_path / "plain", **options)
    task = distil(parts(4, 6), **WEIGHTS, cache=True)
    cached = trained(task, tmp_path / "run" / "cached", **options)
    for a, b in zip(plain.history, cached.history):
        assert a.terms.keys() == b.terms.keys() and a.loss == pytest.approx(b.loss, rel=1e-4)
        assert all(a.terms[name] == pytest.approx(b.terms[name], rel=1e-3, abs=1e-5) for name in a.terms)
    rows = 26 * (2 if augment == "flip" else 1)
    assert [np.load(path).shape for path in files(tmp_path / "run")] == [(rows, 6), (rows, 3)]
    assert isinstance(task.cache.logits, np.memmap) and not files(tmp_path)[2:]


def test_the_teacher_is_asked_once_for_all_trainings_beside_each_other(tmp_path) -> None:
    class Counting(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.calls = tiny("linear"), 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            return self.net(x.mean((2, 3), keepdim=True).expand(-1, -1, 8, 8))[:, :3]

    asked = []
    for number in range(2):
        teacher = Counting()
        task = distil(Parts(net(), teacher, 3), kd=1.0, cache=True)
        trained(task, tmp_path / f"stage{number}", epochs=3)
        asked.append(teacher.calls)
    assert asked == [1, 0] and task.cache.embedding is None


@pytest.mark.parametrize("change", ["weights", "data", "augment", "damage"])
def test_another_teacher_other_data_or_damage_make_it_anew(tmp_path, change) -> None:
    trained(distil(parts(), kd=1.0, cache=True), tmp_path / "first")
    before = {path: path.stat().st_mtime_ns for path in files(tmp_path)}
    made, split, augment = parts(), images(), "none"
    if change == "weights":
        with torch.no_grad():
            made.teacher.head.bias.add_(1.0)
    if change == "data":
        split = images(28)
    if change == "augment":
        augment = "flip"
    if change == "damage":
        next(iter(before)).write_bytes(b"no table")
    expected = distil(made, kd=1.0)
    task = distil(made, kd=1.0, cache=True)
    trained(task, tmp_path / "second", split, augment=augment)
    assert len(files(tmp_path)) == (2 if change == "damage" else 4)
    image = torch.from_numpy(split.inputs["image"][:4]).permute(0, 3, 1, 2).float() / 127.5 - 1
    batch = Batch((image,), None, torch.arange(4), torch.zeros(4, dtype=torch.bool))
    for a, b in zip(task.cache.answer(batch)[:2], expected._asked(batch)[:2]):
        assert torch.allclose(a, b, atol=1e-5)


def test_class_centres_are_cached_with_the_head_they_make(tmp_path) -> None:
    losses = []
    for number, cache in enumerate((False, True)):
        task = th_kd(Parts(net(), net(6, 1, classes=0), 3), head="centres", cache=cache)
        losses.append(trained(task, tmp_path / f"stage{number}").history[-1].loss)
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.parametrize("augment", ["shift", "flip+shift"])
def test_other_augmentations_are_refused(tmp_path, augment) -> None:
    with pytest.raises(UsageError, match="look different"):
        trained(distil(parts(), kd=1.0, cache=True), tmp_path, augment=augment)


def test_a_batch_without_row_numbers_is_refused(tmp_path) -> None:
    task = distil(parts(), kd=1.0, cache=True)
    trained(task, tmp_path / "stage")
    with pytest.raises(UsageError, match="row numbers"):
        task.step(Batch((torch.randn(2, 3, 16, 16),), torch.tensor([0, 1])), task.phases[0])


def test_a_broken_teacher_is_named_by_its_term(tmp_path) -> None:
    for cache in (False, True):
        made = parts()
        with torch.no_grad():
            made.teacher.head.bias.fill_(float("nan"))
        with pytest.raises(TrainingFailed, match="term 'kl' is nan"):
            trained(distil(made, kd=1.0, cache=cache), tmp_path / str(cache))
