from __future__ import annotations

import numpy as np
import pytest
import torch

from edgesmith.compress.asl import AsymmetricLoss
from edgesmith.compress.fit import FitConfig, fit
from edgesmith.compress.peta import Peta, importance_kl, peta
from edgesmith.compress.task import Batch, Parts
from edgesmith.data.split import Split
from edgesmith.errors import UsageError
from tests.albums import album_net, albums
from tests.models import tiny

EVERY = {"kd": 0.7, "embedding": 0.4, "importance": 0.3}


def batch(count: int = 6, photos: int = 7, several: bool = False) -> Batch:
    pixels, mask = albums(count, photos)
    mask[0, 3:] = 0
    labels = torch.eye(3, dtype=torch.int64)[torch.arange(count) % 3] if several else torch.arange(count) % 3
    return Batch((pixels, mask), labels)


def taught(**options: float) -> Peta:
    """A student of 4 photos and 16 dimensions, and a teacher of 24."""
    student, teacher = album_net(0)[0], album_net(1, dim=24, layers=2)[0]
    return peta(Parts(student, teacher, 3), **options)


def split(count: int = 24, photos: int = 6, several: bool = False) -> Split:
    """Albums with a photo of their event's colour in a random place among noise."""
    pixels, mask = (part.numpy() for part in albums(count, photos))
    labels = np.arange(count) % 3
    place = np.random.default_rng(0).integers(0, photos, count)
    pixels[np.arange(count), place] = (np.eye(3)[labels] * 255)[:, None, None, :]
    return Split({"photos": pixels, "mask": mask}, np.eye(3, dtype=np.int8)[labels] if several else labels)


def trained(task: Peta, folder, data: Split | None = None, epochs: int = 2, report=None):
    config = FitConfig(epochs=epochs, batch=8, lr=0.003, optimizer="adamw", threads=1, accelerator="cpu")
    return fit(task, data or split(), None, config, folder, report)


def same(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    a, b = first.state_dict(), second.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_the_loss_of_an_event_is_cross_entropy_and_of_several_asymmetric() -> None:
    torch.manual_seed(0)
    one = peta(Parts(album_net(dropout=0.0)[0].eval(), None, 3))
    asked, mask = one._sampled(*batch().inputs)
    logits = one.student(asked, mask)[0]
    assert one.one.labels(logits, batch().labels) == torch.nn.functional.cross_entropy(logits, batch().labels)
    wanted = AsymmetricLoss(4.0, 0.05, 0.05, reduction="mean")(logits, batch(several=True).labels)
    assert one.several.labels(logits, batch(several=True).labels) == wanted
    torch.manual_seed(3)
    forced = peta(Parts(one.student, None, 3), loss="asl").eval().step(batch(), None).loss
    torch.manual_seed(3)
    assert forced == one.eval().step(batch(several=True), None).loss


def test_each_step_takes_other_photos_and_as_many_as_the_student_takes() -> None:
    task = peta(Parts(album_net(photos=4)[0], None, 3))
    pixels, mask = batch().inputs
    torch.manual_seed(0)
    first, kept = task._sampled(pixels, mask)
    second, _ = task._sampled(pixels, mask)
    assert first.shape[:2] == (6, 4) and not torch.equal(first, second)
    assert kept.sum(1).tolist() == [3, 4, 4, 4, 4, 4] and not first[0, 3].eq(first[0, :3]).all()
    own = {photo.numpy().tobytes() for photo in pixels[2]}
    assert len({photo.numpy().tobytes() for photo in first[2]} & own) == 4  # four different ones, all of its own
    repeated, kept = peta(Parts(task.student, None, 3), repeat=True)._sampled(pixels, mask)
    assert kept.all() and {p.numpy().tobytes() for p in repeated[0]} == {p.numpy().tobytes() for p in pixels[0, :3]}


def test_mirrored_photos_are_the_same_photos_flipped() -> None:
    pixels, mask = batch().inputs
    task = peta(Parts(album_net(photos=7)[0], None, 3), sampling="uniform", mirror=True)
    torch.manual_seed(0)
    found, _ = task._sampled(pixels, mask)
    plain, flipped = (found == pixels).all((2, 3, 4)), (found == pixels.flip(3)).all((2, 3, 4))
    assert (plain | flipped)[mask > 0].all() and plain.any() and flipped.any()


def test_the_loss_is_the_weighted_sum_of_its_terms() -> None:
    for several in (False, True):
        out = taught(event=0.5, **EVERY).step(batch(several=several), None)
        weights = {"event": 0.5, **EVERY}
        assert set(out.terms) == {*weights, "accuracy"}
        assert out.loss.item() == pytest.approx(sum(w * out.terms[name].item() for name, w in weights.items()))


@pytest.mark.parametrize("pooling", ["transformer", "embeddings", "scores"])
def test_every_pooling_learns_what_one_photo_says(tmp_path, pooling: str) -> None:
    task = peta(Parts(album_net(pooling=pooling, photos=6)[0], None, 3))
    history = trained(task, tmp_path, epochs=8).history
    assert history[-1].loss < 0.8 * history[0].loss
    assert type(task.deployable()) is type(task.student) and same(task.deployable(), task.student)


def test_the_teacher_stays_as_it_was_and_is_no_part_of_what_is_saved(tmp_path) -> None:
    task, before = taught(**EVERY), album_net(1, dim=24, layers=2)[0]
    trained(task, tmp_path)
    assert same(task.teacher, before) and not task.teacher.training
    assert not any(key.startswith("teacher.") for key in task.state_dict())
    assert any(key.startswith("projector.") for key in task.state_dict())
    assert sum(p.numel() for p in task.phases[0].parameters()) == sum(
        p.numel() for net in (task.student, task.projector) for p in net.parameters()
    )


@pytest.mark.parametrize("term", sorted(EVERY))
def test_each_term_alone_brings_the_student_closer_to_the_teacher(tmp_path, term: str) -> None:
    history = trained(taught(event=0.0, **{term: 1.0}), tmp_path, split(several=True), epochs=5).history
    assert history[-1].terms[term] < history[0].terms[term]


def test_a_resumed_training_ends_with_the_same_bits(tmp_path) -> None:
    class Stop(Exception):
        pass

    def stop(epoch) -> None:
        raise Stop

    whole, cut, resumed = taught(**EVERY), taught(**EVERY), taught(**EVERY)
    trained(whole, tmp_path / "whole")
    with pytest.raises(Stop):
        trained(cut, tmp_path / "cut", report=stop)
    torch.rand(7)
    assert trained(resumed, tmp_path / "cut").resumed_from == 1
    assert same(whole.student, resumed.student) and same(whole.projector, resumed.projector)


def test_importance_kl_is_of_shares_and_safe_without_photos() -> None:
    own, theirs = torch.tensor([[0.2, 0.2, 0.0], [0.0, 0.0, 0.0]]), torch.tensor([[0.6, 0.2, 0.0], [0.0, 0.0, 0.0]])
    wanted = 0.75 * np.log(0.75 / 0.5) + 0.25 * np.log(0.25 / 0.5)
    own.requires_grad_()
    found = importance_kl(own, theirs)
    found.backward()
    assert found.item() == pytest.approx(wanted / 2, rel=1e-5) and own.grad.isfinite().all()
    assert importance_kl(theirs, 3 * theirs) == 0


@pytest.mark.parametrize(
    ("options", "teacher"),
    [({"kd": 1.0}, None), ({"event": 0.0}, None), ({"event": -1.0}, None), ({"temperature": 0.0}, None),
     ({"loss": "ce"}, None), ({"sampling": "first"}, None), ({"kd": 1.0}, {"classes": 5}),
     ({"kd": 1.0}, {"classes": 0}),
     ({"embedding": 1.0}, {"positions": True, "photos": 9})],
)  # fmt: skip
def test_what_does_not_fit_is_refused(options: dict, teacher: dict | None) -> None:
    other = None if teacher is None else album_net(1, **teacher)[0]
    with pytest.raises(UsageError, match="peta"):
        peta(Parts(album_net()[0], other, 3), **options)


def test_nets_and_labels_that_do_not_fit_are_refused(tmp_path) -> None:
    for student, classes in ((tiny("linear"), 0), (album_net(classes=0)[0], 0), (album_net()[0], 4)):
        with pytest.raises(UsageError):
            peta(Parts(student, None, classes))
    data = split()
    for labels in (None, np.arange(24), np.ones((24, 2), np.int8)):
        with pytest.raises(UsageError):
            trained(peta(Parts(album_net()[0], None, 3)), tmp_path, Split(data.inputs, labels))
