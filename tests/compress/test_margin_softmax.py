"""Margin softmax with a teacher: head sharing for face nets (methods.md, head sharing under a margin)."""

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from edgesmith.compress.class_centres import NOTE, class_centres
from edgesmith.compress.fit import fit
from edgesmith.compress.margin_softmax import margin
from edgesmith.compress.task import Batch, Parts
from edgesmith.compress.teacher_cache import FOLDER
from edgesmith.errors import UsageError
from tests.compress.test_margin_task import BATCH, CONFIG, PREPROCESSING, X, Y, images, net, parts, same, train

SHARED = {"head_mode": "shared_frozen", "scale": 8.0}
FLIP = replace(CONFIG, augment="flip", epochs=2)


def loss(task) -> torch.Tensor:
    return task.eval().step(BATCH, None).loss


def test_a_th_0_is_the_own_head_alone_bit_for_bit() -> None:
    plain, none = (train(margin(parts(net()), **o)) for o in ({"scale": 8.0}, {**SHARED, "a_th": 0.0}))
    assert same(plain.student, none.student) and torch.equal(plain.centres.centres, none.centres.centres)


def test_a_th_1_is_the_frozen_head_alone_and_has_no_centres_of_its_own() -> None:
    task = margin(parts(), **SHARED)
    assert task.own is None
    cosines = F.normalize(task.student.eval().embed(X)) @ F.normalize(task.shared.centres).T
    moved = torch.where(F.one_hot(Y, 3).bool(), (cosines.arccos() + 0.5).cos(), cosines)
    assert torch.allclose(loss(task), F.cross_entropy(8 * moved, Y), atol=1e-4)


def test_between_them_both_heads_are_weighed_and_the_distance_is_added() -> None:
    made = parts()
    own, shared = loss(margin(made, scale=8.0)), loss(margin(made, **SHARED))
    z_s, z_t = (F.normalize(n.eval().embed(X)) for n in (made.student, made.teacher))
    distance = (z_s - z_t).square().sum(1).mean()
    found = loss(margin(made, a_th=0.3, l2=5.0, **SHARED))
    assert torch.allclose(found, 0.7 * own + 0.3 * shared + 5 * distance, atol=1e-4)
    terms = margin(made, a_th=0.3, l2=5.0, **SHARED).eval().step(BATCH, None).terms
    assert set(terms) == {"ce", "ce_th", "l2", "accuracy"} and torch.allclose(terms["l2"], distance)


def test_frozen_centres_and_teacher_stay_bit_identical_while_own_centres_learn() -> None:
    made = parts()
    teacher = copy.deepcopy(made.teacher)
    task = margin(made, a_th=0.5, l2=1.0, **SHARED)
    frozen, own = task.shared.centres.clone(), task.own.centres.detach().clone()
    train(task, 6)
    assert torch.equal(task.shared.centres, frozen) and same(task.teacher, teacher)
    assert not torch.equal(task.own.centres, own) and all(p.grad is None for p in task.teacher.parameters())
    assert not any(name.startswith("teacher.") for name in task.state_dict())


Z = net(6, 1).eval().embed(X).detach()


def test_the_distance_alone_can_hold_the_own_head_to_the_teacher() -> None:
    far, near = (train(margin(parts(net()), scale=8.0, l2=weight), 30) for weight in (0.0, 50.0))
    distance = [(F.normalize(task.student.eval().embed(X)) - F.normalize(Z)).norm() for task in (far, near)]
    assert distance[1] < 0.7 * distance[0]


def test_class_centres_stand_in_for_a_head_that_was_not_kept(tmp_path) -> None:
    teacher = net(6, 1, classes=0)
    task = margin(Parts(net(classes=0), teacher, 0), head="centres", l2=2.0, cache=True, **SHARED)
    history = fit(task, images(), PREPROCESSING, FLIP, tmp_path / "stage").history
    assert history[-1].loss < history[0].loss and task.notes == (NOTE,)
    split = images()
    pixels = (torch.from_numpy(split.inputs["image"]).float() / 255 - 0.5).permute(0, 3, 1, 2) / 0.5
    expected = class_centres(teacher, [Batch((pixels,), torch.from_numpy(split.labels))], 3)
    assert torch.allclose(task.shared.centres, F.normalize(expected, dim=1), atol=1e-5)
    assert task.deployable().head is None and any((tmp_path / FOLDER).iterdir())


def test_the_cache_changes_nothing(tmp_path) -> None:
    def trained(cache: bool, folder: str):
        task = margin(Parts(net(), net(6, 1), 3), l2=2.0, cache=cache, **SHARED)
        return fit(task, images(), PREPROCESSING, FLIP, tmp_path / folder / "stage").history

    asked, read = trained(False, "a"), trained(True, "b")
    assert [epoch.loss for epoch in asked] == pytest.approx([epoch.loss for epoch in read], rel=1e-4)


def test_a_resumed_training_with_a_teacher_ends_with_the_same_bits(tmp_path) -> None:
    def made():
        return margin(Parts(net(), net(6, 1, classes=0), 3), head="centres", a_th=0.5, l2=1.0, **SHARED)

    whole, first, second = made(), made(), made()
    fit(whole, images(), PREPROCESSING, CONFIG, tmp_path / "whole")

    class Stop(Exception):
        pass

    def stop(epoch) -> None:
        raise Stop

    with pytest.raises(Stop):
        fit(first, images(), PREPROCESSING, CONFIG, tmp_path / "cut", stop)
    assert fit(second, images(), PREPROCESSING, CONFIG, tmp_path / "cut").resumed_from == 1
    assert same(whole, second)


def test_a_head_from_class_centres_is_deployed_and_its_weights_fit_a_new_task(tmp_path) -> None:
    def made():
        return margin(Parts(net(), net(6, 1, classes=0), 3), head="centres", deploy_head=True, **SHARED)

    task = made()
    fit(task, images(), PREPROCESSING, CONFIG, tmp_path)
    deployed = task.deployable()
    assert torch.allclose(deployed.head.weight, task.shared.centres)
    made().deployable().load_state_dict(deployed.state_dict())


def test_three_stages_of_sh_kd_share_one_head() -> None:
    first = train(margin(Parts(net(), None, 3), scale=8.0, deploy_head=True)).deployable()
    teacher = train(margin(Parts(net(6, 1), None, 3, first.head), deploy_head=True, **SHARED)).deployable()
    task = margin(Parts(net(6, 2), teacher, 3, first.head), l2=1.0, deploy_head=True, **SHARED)
    last = train(task).deployable()
    for other in (teacher, last):
        assert torch.allclose(other.head.weight, first.head.weight, atol=1e-6)
    assert task.own is None and "l2" in task.step(BATCH, None).terms


@pytest.mark.parametrize(
    ("wrong", "options", "said"),
    [
        (Parts(net(), None, 3), {"l2": 1.0}, "there is no teacher"),
        (Parts(net(), None, 3), {"head": "centres", **SHARED}, "there is no teacher"),
        (Parts(net(), net(5), 3), {"l2": 1.0}, "the teacher's 5"),
        (Parts(net(), net(), 3), {"a_th": 1.5}, "a_th 1.5"),
        (Parts(net(), net(), 3), {"l2": -1.0}, "l2 -1"),
        (Parts(net(), net(), 3), {"head": "centers"}, "head 'centers'"),
        (Parts(net(), net(), 3, net().head), {}, "do not use it"),
        (Parts(net(), net(), 3, net(classes=4).head), SHARED, "its head has 4"),
        (Parts(net(classes=0), net(classes=0), 0), {"head": "centres", "a_th": 0.5, **SHARED}, "number of classes"),
        (Parts(net(classes=0), net(classes=0), 0), {"head": "centres", "deploy_head": True, **SHARED}, "number of cl"),
    ],
)
def test_what_does_not_fit_is_a_usage_error(wrong, options, said) -> None:
    with pytest.raises(UsageError, match=said):
        margin(wrong, **options)


def test_a_step_before_the_samples_were_seen_says_so() -> None:
    task = margin(Parts(net(), net(6, 1, classes=0), 3), head="centres", **SHARED)
    with pytest.raises(UsageError, match="not seen yet"):
        task.step(BATCH, None)
