import pytest
import torch
import torch.nn.functional as F

from edgesmith.compress.class_centres import class_centres
from edgesmith.compress.distil import distil
from edgesmith.compress.head_sharing import th_kd
from edgesmith.compress.task import Batch, Parts
from edgesmith.errors import UsageError
from tests.compress.training import images, net, trained

X, Y = torch.randn(9, 3, 16, 16, generator=torch.Generator().manual_seed(0)), torch.arange(9) % 3


def test_a_centre_is_the_mean_of_normalised_embeddings() -> None:
    teacher = net(classes=0)
    centres = class_centres(teacher, [Batch((X[:5],), Y[:5]), Batch((X[5:],), Y[5:])], 3)
    with torch.no_grad():
        z = F.normalize(teacher.embed(X))
    assert torch.allclose(centres, torch.stack([z[c == Y].mean(0) for c in range(3)]), atol=1e-6)
    assert not centres.requires_grad and not centres.is_inference()


def test_an_empty_class_is_named() -> None:
    with pytest.raises(UsageError, match=r"class 3 has no training sample \(2 of 5"):
        class_centres(net(classes=0), [Batch((X,), Y)], 5)
    with pytest.raises(UsageError, match="labels"):
        class_centres(net(classes=0), [Batch((X,), None)], 3)


@pytest.mark.parametrize(
    "make", [lambda p: distil(p, kd=1.0, th=1.0, head="centres"), lambda p: th_kd(p, head="centres")]
)
def test_a_teacher_without_a_head_teaches_through_its_class_centres(tmp_path, make) -> None:
    task = make(Parts(net(4, 0), net(6, 1, classes=0), 3))
    trained(task, tmp_path)
    assert task.teacher.head.weight.shape == (3, 6) and task.teacher.head.bias is None
    assert task.teacher.head.weight.norm(dim=1).max() <= 1 + 1e-6 and not task.teacher.head.weight.requires_grad
    assert "mean normalised embedding" in task.notes[0]


def test_a_student_without_a_head_may_learn_under_the_centres(tmp_path) -> None:
    task = th_kd(Parts(net(6, 0, classes=0), net(6, 1, classes=0), 0), 1.0, head="centres")
    result = trained(task, tmp_path, epochs=3)
    assert result.history[-1].loss < result.history[0].loss and task.teacher.head.weight.shape == (3, 6)
    assert task.deployable()(X).shape == (9, 6)


def test_a_head_that_is_there_is_not_replaced() -> None:
    with pytest.raises(UsageError, match="head of its own"):
        th_kd(Parts(net(), net(), 3), head="centres")
    assert th_kd(Parts(net(), net(), 3)).notes == ()


def test_a_missing_class_stops_the_training(tmp_path) -> None:
    task = distil(Parts(net(classes=4), net(6, 1, classes=0), 4), th=1.0, head="centres")
    with pytest.raises(UsageError, match="class 3"):
        trained(task, tmp_path, images())
