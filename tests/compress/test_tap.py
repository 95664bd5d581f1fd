"""A layer's output inside a net, and distillation by it."""

import pytest
import torch
from torch import nn

from edgesmith.compress.distil import distil
from edgesmith.compress.tap import layer_at, tapped
from edgesmith.compress.task import Batch, Parts
from edgesmith.compress.terms import feature_distance
from edgesmith.errors import UsageError
from edgesmith.models import mobilefacenet
from edgesmith.models.mobilefacenet import Slim
from tests.compress.training import images, trained


def net(seed: int = 0, embedding: int = 6, **options) -> nn.Module:
    return mobilefacenet.build(width=0.125, size=16, embedding=embedding, seed=seed, **options)[0]


def small(seed: int = 1) -> nn.Module:
    return net(seed, slim=Slim(blocks=(0, 5, 12), inner=0.5))


X = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def lived(made: nn.Module) -> nn.Module:
    """Batch norms that have seen data: without, what an untrained net gives shrinks from layer to layer."""
    norms = [layer for layer in made.modules() if isinstance(layer, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    made.train()(torch.randn(64, 3, 16, 16, generator=torch.Generator().manual_seed(3)))
    return made.eval()


def test_a_tap_gives_what_the_layer_gave_and_leaves_no_hook() -> None:
    made = net().eval()
    with tapped(made, "body.stem") as found:
        made(X)
    assert len(found) == 1 and torch.equal(found[0], made.body.stem(X))
    made(X)
    assert len(found) == 1 and not made.body.stem._forward_hooks
    with tapped(made, "") as nothing:
        made(X)
    assert nothing == []


def test_feature_distance_by_hand_is_relative_to_the_teacher() -> None:
    teacher, student = torch.tensor([[[3.0, 4.0]], [[0.0, 1.0]]]), torch.tensor([[[3.0, 0.0]], [[0.0, 3.0]]])
    assert feature_distance(student, teacher) == pytest.approx((16 / 25 + 4) / 2)
    assert feature_distance(7 * student, 7 * teacher) == feature_distance(student, teacher)
    with pytest.raises(UsageError, match="choose layers"):
        feature_distance(student, teacher[:, :, :1])


def test_a_student_comes_nearer_to_the_teachers_layer_and_the_cache_changes_nothing(tmp_path) -> None:
    def history(cache: bool, folder: str):
        options = {"ce": 0.0, "l2": 0.1, "features": 1.0, "layer": "body.blocks", "cache": cache}
        task = distil(Parts(small(), lived(net()), 0), **options)
        return trained(task, tmp_path / folder / "stage", images(), augment="flip", epochs=3, lr=0.005).history

    asked, read = history(False, "a"), history(True, "b")
    assert asked[-1].terms["features"] < 0.92 * asked[0].terms["features"]
    for a, b in zip(asked, read):
        assert a.loss == pytest.approx(b.loss, rel=1e-3)
        assert a.loss == pytest.approx(a.terms["features"] + 0.1 * a.terms["l2"], rel=1e-4)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"layer": "body.trunk"}, "'body.trunk'.*student has none"),
        ({}, "no layer is named"),
        ({"layer": "body.blocks", "features": -1.0}, "features -1"),
    ],
)
def test_a_layer_that_is_not_there_is_named(options, said) -> None:
    with pytest.raises(UsageError, match=said):
        distil(Parts(small(), net(), 0), **{"ce": 0.0, "l2": 1.0, "features": 1.0, **options})


def test_layers_of_other_shapes_and_layers_that_do_not_run_are_refused() -> None:
    other = mobilefacenet.build(width=0.25, size=16, embedding=6)[0]
    task = distil(Parts(small(), other, 0), ce=0.0, features=1.0, layer="body.blocks")
    with pytest.raises(UsageError, match="choose layers"):
        task.step(Batch((X,), None), None)
    idle_s, idle_t = small(), net()
    idle_s.spare = idle_t.spare = nn.Identity()
    with pytest.raises(UsageError, match="did not run"):
        distil(Parts(idle_s, idle_t, 0), ce=0.0, features=1.0, layer="spare").step(Batch((X,), None), None)
    assert layer_at(idle_s, "spare", "student") is idle_s.spare
