import copy
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from edgesmith.compress import METHODS
from edgesmith.compress.fit import FitConfig, fit
from edgesmith.compress.head_sharing import th_kd
from edgesmith.compress.margin_softmax import margin
from edgesmith.compress.margins import MarginName
from edgesmith.compress.optimizer import OptimizerChoice, make_optimizer
from edgesmith.compress.task import Batch, Parts
from edgesmith.data.split import Split
from edgesmith.errors import UsageError
from edgesmith.models.resnet import build
from edgesmith.tensors import Preprocessing
from tests.models import tiny

X, Y = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 3
BATCH = Batch((X,), Y)
PREPROCESSING = Preprocessing((16, 16), (0.5,) * 3, (0.5,) * 3)
CONFIG = FitConfig(epochs=3, batch=8, lr=0.05, seed=3, threads=1, accelerator="cpu")
OPTIONS = {"combined": {"margins": (1.0, 0.3, 0.1)}}


def net(embedding: int = 6, seed: int = 0, classes: int = 3) -> nn.Module:
    return build(width=4, blocks=(1,), size=16, embedding=embedding, classes=classes, seed=seed)[0]


def parts(student: nn.Module | None = None, teacher: nn.Module | None = None, classes: int = 3) -> Parts:
    return Parts(student or net(), teacher or net(6, 1), classes)


def train(task, steps: int = 4):
    optimizer = make_optimizer(task.phases[0].parameters(), OptimizerChoice(weight_decay=1e-2))
    task.train()
    for _ in range(steps):
        optimizer.zero_grad()
        task.step(BATCH, task.phases[0]).loss.backward()
        optimizer.step()
    return task


def images(count: int = 24, classes: int = 3) -> Split:
    labels = np.arange(count) % classes
    noise = np.random.default_rng(0).integers(0, 60, (count, 16, 16, 3))
    return Split({"image": (noise + 90 * labels[:, None, None, None]).astype(np.uint8)}, labels)


def same(first: nn.Module, second: nn.Module) -> bool:
    a, b = first.state_dict(), second.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a if "extra" not in key)


def test_it_is_a_row_of_the_methods() -> None:
    assert METHODS.get("margin") is margin


def test_the_loss_is_the_margin_softmax_of_the_embedding() -> None:
    task = margin(parts(), m=0.3, scale=16.0).eval()
    cosines = F.normalize(task.student.embed(X)) @ F.normalize(task.centres.centres).T
    moved = (cosines.arccos() + 0.3 * F.one_hot(Y, 3)).cos()
    output = task.step(BATCH, None)
    assert torch.allclose(output.loss, F.cross_entropy(16 * moved, Y), atol=1e-4)
    assert output.terms["accuracy"] == (cosines.argmax(1) == Y).float().mean()


@pytest.mark.parametrize("kind", get_args(MarginName))
def test_every_margin_learns_in_the_loop_and_gives_an_embedding(tmp_path, kind) -> None:
    task = margin(parts(), kind, scale=8.0, **OPTIONS.get(kind, {}))
    history = fit(task, images(), PREPROCESSING, replace(CONFIG, epochs=8), tmp_path).history
    assert history[-1].loss < history[0].loss and history[-1].accuracy > 0.8
    deployed = task.deployable()
    assert deployed.head is None and deployed(X).shape == (8, 6)
    assert torch.equal(deployed(X), task.student.eval().embed(X)) and task.student.head is not None


class Stop(Exception):
    """An interruption at a place of our choice."""


@pytest.mark.parametrize("options", [{"kind": "adaface"}, {"sample_rate": 0.4}])
def test_a_resumed_training_ends_with_the_same_bits(tmp_path, options) -> None:
    """Also AdaFace's statistics, and the classes that are sampled."""
    whole, first, second = (margin(Parts(net(classes=0), None, 40), scale=8.0, **options) for _ in range(3))
    data = images(40, 40), PREPROCESSING
    fit(whole, *data, CONFIG, tmp_path / "whole")

    def stop(epoch) -> None:
        raise Stop

    with pytest.raises(Stop):
        fit(first, *data, CONFIG, tmp_path / "cut", stop)
    torch.rand(17)  # the caller's random numbers must not matter
    assert fit(second, *data, CONFIG, tmp_path / "cut").resumed_from == 1
    assert same(whole, second)


def test_frozen_centres_are_the_teachers_get_no_gradient_and_stay_bit_identical() -> None:
    made = parts()
    task = margin(made, head_mode="shared_frozen", scale=8.0)
    before, net_before = task.centres.centres.clone(), copy.deepcopy(made.student)
    assert torch.equal(before, F.normalize(made.teacher.head.weight.detach(), dim=1))
    train(task)
    learning = {id(p) for p in task.phases[0].parameters()}
    assert learning == {id(p) for name, p in made.student.named_parameters() if not name.startswith("head.")}
    assert torch.equal(task.centres.centres, before) and not task.centres.centres.requires_grad
    assert not torch.equal(made.student.embed(X), net_before.embed(X))


def test_own_centres_learn_and_the_students_linear_head_does_not() -> None:
    task = margin(parts(), scale=8.0)
    before, head = task.centres.centres.detach().clone(), copy.deepcopy(task.student.head)
    train(task)
    assert not torch.equal(task.centres.centres, before) and same(task.student.head, head)


def test_deployed_centres_are_a_head_that_another_net_can_share() -> None:
    first = train(margin(parts(), scale=8.0, deploy_head=True)).deployable()
    assert first.head.bias is None and torch.allclose(first.head.weight.norm(dim=1), torch.ones(3))
    second = train(margin(parts(net(6, 2), first), head_mode="shared_frozen", scale=8.0, deploy_head=True))
    assert torch.allclose(second.deployable().head.weight, first.head.weight, atol=1e-6)
    assert th_kd(Parts(net(6, 3), first, 3)).step(BATCH, None).loss.isfinite()


def test_a_student_without_a_head_can_learn_from_shared_centres() -> None:
    task = margin(Parts(net(classes=0), net(6, 1), 0), head_mode="shared_frozen")
    assert task.centres.classes == 3 and train(task).deployable()(X).shape == (8, 6)
    assert margin(Parts(net(classes=0), None, 5)).centres.centres.shape == (5, 6)


def test_a_label_out_of_range_is_named() -> None:
    for options in ({}, {"sample_rate": 0.5}):
        with pytest.raises(UsageError, match="rank 0 has label 3"):
            margin(parts(), **options).step(Batch((X,), torch.arange(8) % 4), None)


def test_a_class_without_a_sample_is_named(tmp_path) -> None:
    """Centres of its own it could only push away; shared ones may be of classes that these data lack."""
    with pytest.raises(UsageError, match="2 of 5 classes have no training sample: 3, 4"):
        fit(margin(Parts(net(classes=0), None, 5)), images(), PREPROCESSING, CONFIG, tmp_path)
    task = margin(Parts(net(classes=0), net(6, 1, classes=5), 5), head_mode="shared_frozen", scale=8.0)
    fit(task, images(), PREPROCESSING, replace(CONFIG, epochs=1), tmp_path)
    assert task.notes == ("2 of 5 classes have no training sample: 3, 4",)


def test_the_loss_is_fp32_under_autocast() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert margin(parts()).step(BATCH, None).loss.dtype == torch.float32


@pytest.mark.parametrize(
    ("wrong", "options", "said"),
    [
        (Parts(net(), None, 3), {"head_mode": "shared_frozen"}, "there is no teacher"),
        (Parts(net(), net(classes=0), 3), {"head_mode": "shared_frozen"}, "no linear head"),
        (Parts(net(), net(classes=4), 3), {"head_mode": "shared_frozen"}, "its head has 4"),
        (Parts(net(5), net(6), 3), {"head_mode": "shared_frozen"}, "embedding=6"),
        (Parts(net(classes=0), None, 0), {}, "number of classes"),
        (Parts(tiny("linear"), None, 3), {}, "no embed"),
        (Parts(net(), None, 3), {"head_mode": "shared"}, "head_mode 'shared'"),
        (Parts(net(), None, 3), {"kind": "sphereface"}, "no such name"),
        (Parts(net(), None, 3), {"sample_rate": 2.0}, "sample_rate"),
    ],
)
def test_what_does_not_fit_is_a_usage_error(wrong, options, said) -> None:
    with pytest.raises(UsageError, match=said):
        margin(wrong, **options)
