import copy

import pytest
import torch
from torch import nn

from edgesmith.compress.distil import distil
from edgesmith.compress.distil_task import Weights
from edgesmith.compress.head_sharing import kd, th_kd
from edgesmith.compress.shared_head import ProjectedNet
from edgesmith.compress.task import Batch, Parts, plain
from edgesmith.errors import TrainingFailed, UsageError
from tests.compress.training import images, net, parts, trained
from tests.models import tiny

X, Y = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 3
BATCH = Batch((X,), Y, torch.arange(8), torch.zeros(8, dtype=torch.bool))
EVERY = {"ce": 0.9, "kd": 1.1, "th": 0.2, "l2": 0.3, "cosine": 0.4, "crd": 0.05}


def same(first: nn.Module, second: nn.Module) -> bool:
    a, b = first.state_dict(), second.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_presets_are_choices_of_weights() -> None:
    first, second = distil(parts(4, 6), kd=1.5, l2=0.3), kd(parts(4, 6), alpha=1.5, beta=0.3)
    assert torch.equal(first.step(BATCH, None).loss, second.step(BATCH, None).loss)
    made = th_kd(parts(), 0.25, alpha=2.0, beta=0.1, distance="cosine").weights
    assert made == Weights(ce=0.75, kl=1.5, ce_th=0.25, kl_th=0.5, cosine=0.1)


def test_any_sum_is_the_weighted_sum_of_its_terms(tmp_path) -> None:
    task = distil(parts(4, 6), **EVERY, crd_dim=8)
    last = trained(task, tmp_path).history[-1]
    names = {"ce": "ce", "kd": "kl", "th": "kl_th", "l2": "l2", "cosine": "cosine", "crd": "crd"}
    assert set(last.terms) == set(names.values()) and last.accuracy is not None
    assert last.loss == pytest.approx(sum(EVERY[key] * last.terms[name] for key, name in names.items()), rel=1e-5)
    assert type(task.deployable()) is type(net()) and same(task.deployable(), task.student)


@pytest.mark.parametrize("term", ["kd", "th", "l2", "cosine", "crd"])
def test_each_term_alone_moves_the_student(tmp_path, term) -> None:
    alone, without = distil(parts(), **{term: 1.0}, crd_dim=8), distil(parts(), ce=1.0)
    for number, task in enumerate((alone, without)):
        trained(task, tmp_path / str(number))
    assert not same(alone.student, without.student)


def test_without_terms_of_the_teacher_it_is_plain_training(tmp_path) -> None:
    first, second = distil(parts()), plain(parts())
    trained(first, tmp_path / "a")
    trained(second, tmp_path / "b")
    assert same(first.student, second.student)


def test_a_resumed_training_with_every_term_ends_with_the_same_bits(tmp_path) -> None:
    class Stop(Exception):
        pass

    def make():
        return distil(parts(4, 6), **EVERY, crd_dim=8, cache=True)

    def stop(epoch) -> None:
        raise Stop

    from edgesmith.compress.fit import fit
    from tests.compress.training import CONFIG, PREPROCESSING

    whole, first, second = make(), make(), make()
    trained(whole, tmp_path / "whole")
    with pytest.raises(Stop):
        fit(first, images(), PREPROCESSING, CONFIG, tmp_path / "cut", stop)
    torch.rand(5)
    assert trained(second, tmp_path / "cut").resumed_from == 1
    assert same(whole.student, second.student) and same(whole.contrast, second.contrast)


def test_embeddings_can_be_distilled_without_heads_or_labels(tmp_path) -> None:
    split = images()
    task = distil(Parts(net(4, 0, classes=0), net(6, 1, classes=0), 0), ce=0.0, l2=1.0, cosine=1.0)
    result = trained(task, tmp_path, type(split)(split.inputs), epochs=4)
    assert result.history[-1].loss < result.history[0].loss and result.history[0].accuracy is None
    assert isinstance(task.deployable(), ProjectedNet) and task.deployable()(X).shape == (8, 6)


def test_contrast_alone_trains_a_student_without_a_head(tmp_path) -> None:
    task = distil(Parts(net(4, 0, classes=0), net(6, 1), 3), ce=0.0, crd=1.0, crd_dim=8)
    trained(task, tmp_path)
    assert task.deployable()(X).shape == (8, 4)


def test_the_parameters_of_contrast_learn_and_the_teacher_does_not(tmp_path) -> None:
    task = distil(parts(), crd=0.5, crd_dim=8)
    layers, teacher = copy.deepcopy(task.contrast.student), copy.deepcopy(task.teacher)
    trained(task, tmp_path)
    assert not same(layers, task.contrast.student) and same(teacher, task.teacher)


@pytest.mark.parametrize("mode", ["shared_frozen", "shared_init", "free"])
@pytest.mark.parametrize("size", [6, 5])
def test_a_student_of_a_shared_head(tmp_path, mode, size) -> None:
    head = net(6, 7).head
    task = distil(parts(size, 6, head), kd=1.0, l2=1.0, head_mode=mode)
    trained(task, tmp_path, weight_decay=0.1)
    deployed = task.deployable()
    if mode == "shared_frozen":
        assert same(task.student.head, head) and same(deployed.head, head)
    assert same(task.student.head, head) == (mode == "shared_frozen")
    with torch.no_grad():
        assert torch.allclose(deployed(X), deployed.head(deployed.embed(X)), atol=1e-5)
    assert isinstance(deployed, ProjectedNet) == (size == 5 and mode != "free")


def test_a_student_with_a_frozen_head_needs_no_term_that_trains_a_head(tmp_path) -> None:
    head = net(6, 7).head
    task = distil(parts(6, 6, head), ce=0.0, l2=1.0)
    trained(task, tmp_path)
    assert same(task.deployable().head, head)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: distil(Parts(net(), None, 3)), "no teacher"),
        (lambda: distil(Parts(net(), net(classes=0), 3), kd=1.0), "teacher has no linear head"),
        (lambda: distil(Parts(net(), net(classes=0), 3), th=1.0), "teacher has no linear head"),
        (lambda: distil(Parts(net(classes=0), net(), 3)), "student has no linear head"),
        (lambda: distil(Parts(net(), net(classes=5), 3), l2=1.0), "teacher for 3 classes: its head has 5"),
        (lambda: distil(Parts(net(classes=0), net(classes=5), 3), ce=0.0, l2=1.0), "its head has 5"),
        (lambda: distil(parts(), ce=0.0, l2=1.0), "nothing trains the student's head"),
        (lambda: distil(parts(), ce=0.0), "every weight is 0"),
        (lambda: distil(parts(), kd=-1.0), "kl -1.0"),
        (lambda: distil(parts(), l2=float("nan")), "l2 nan"),
        (lambda: distil(parts(), temperature=0.0), "temperature 0.0"),
        (lambda: distil(parts(), projector="none"), "projector 'none'"),
        (lambda: distil(parts(), head="mine"), "head 'mine'"),
        (lambda: distil(parts(6, 6, net().head), head_mode="loose"), "head_mode 'loose'"),
        (lambda: distil(parts(6, 6, net(classes=4).head)), "4 classes, the net 3"),
        (lambda: distil(Parts(tiny("linear"), net(), 3), l2=1.0), "student has no embed"),
        (lambda: distil(Parts(net(), tiny("linear"), 3), l2=1.0), "teacher has no embed"),
    ],
)
def test_parts_that_do_not_fit_are_usage_errors(make, words) -> None:
    with pytest.raises(UsageError, match=words):
        make()


def test_logits_of_other_classes_are_named_in_the_first_step() -> None:
    class Five(nn.Module):
        def forward(self, x):
            return x.new_zeros(len(x), 5)

    with pytest.raises(UsageError, match=r"teacher gives \(8, 5\), the student \(8, 3\)"):
        distil(Parts(net(), Five(), 3), kd=1.0).step(BATCH, None)


@pytest.mark.parametrize("make", [lambda: distil(parts(), kd=1.0), lambda: plain(parts())])
def test_labels_outside_the_classes_are_named(tmp_path, make) -> None:
    with pytest.raises(UsageError, match="train 3 classes: the training labels go from 0 to 4"):
        trained(make(), tmp_path, images(classes=5))


def test_a_loss_that_is_not_a_number_names_its_term(tmp_path) -> None:
    task = distil(parts(), kd=1.0, crd=1.0, crd_dim=8)
    with torch.no_grad():
        task.contrast.teacher.weight.fill_(float("nan"))
    with pytest.raises(TrainingFailed, match="term 'crd' is nan"):
        trained(task, tmp_path)


def test_losses_are_fp32_under_autocast(tmp_path) -> None:
    result = trained(distil(parts(4, 6), **EVERY, crd_dim=8), tmp_path, precision="bf16-mixed")
    assert all(value == value for value in result.history[-1].terms.values())
