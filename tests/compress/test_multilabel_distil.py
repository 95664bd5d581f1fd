import pytest
import torch

from edgesmith.compress.asl import AsymmetricLoss
from edgesmith.compress.judge import sigmoid_kl
from edgesmith.compress.multilabel_distil import kd_multilabel
from edgesmith.compress.shared_head import HeadEnsemble
from edgesmith.compress.task import Batch, Parts
from edgesmith.compress.terms import distance
from edgesmith.errors import UsageError
from tests.compress.multilabels import CLASSES, scenes
from tests.compress.training import images, net, trained

X = torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))
Y = torch.randint(-1, 2, (6, CLASSES), generator=torch.Generator().manual_seed(1))
BATCH = Batch((X,), Y)


def parts(student: int = 6, teacher: int = 6, classes: int = CLASSES) -> Parts:
    return Parts(net(student, 0, classes), net(teacher, 1, classes), classes)


def test_the_terms_are_equations_0_to_3_with_sigmoid() -> None:
    made = parts()
    task = kd_multilabel(made, a_th=0.3, alpha=1.5, beta=0.2, temperature=2.0).eval()
    s, t = made.student, made.teacher
    hard = AsymmetricLoss(4.0, 0.0, 0.05, reduction="mean")
    own, shared, theirs = s(X), t.head(s.embed(X)), t(X)
    expected = 0.7 * hard(own, Y) + 0.3 * hard(shared, Y)
    expected = expected + 1.5 * (0.7 * sigmoid_kl(own, theirs, 2.0) + 0.3 * sigmoid_kl(shared, theirs, 2.0))
    expected = expected + 0.2 * distance(s.embed(X), t.embed(X), "l2")
    assert torch.allclose(task.step(BATCH, None).loss, expected, atol=1e-6)


def test_a_teachers_head_alone_is_deployed_folded(tmp_path) -> None:
    made = parts(4, 6)
    task = kd_multilabel(made, a_th=1.0)
    before = {name: value.clone() for name, value in made.teacher.state_dict().items()}
    trained(task, tmp_path, scenes(hide=0.3), epochs=2)
    deployed = task.deployable()
    expected = made.teacher.head(task.projector(made.student.eval().embed(X)))
    assert torch.allclose(deployed(X), expected, atol=1e-5) and deployed.head.in_features == 4
    assert all(torch.equal(before[name], value) for name, value in made.teacher.state_dict().items())


def test_equal_nets_have_nothing_to_learn_from_the_teacher() -> None:
    terms = (
        kd_multilabel(Parts(net(6, 1, CLASSES), net(6, 1, CLASSES), CLASSES), a_th=0.5).eval().step(BATCH, None).terms
    )
    assert abs(float(terms["kl"])) < 1e-7 and abs(float(terms["kl_th"])) < 1e-7 and float(terms["ce"]) > 0


def test_a_cached_teacher_says_the_same(tmp_path) -> None:
    losses = []
    for cache in (False, True):
        torch.manual_seed(0)
        task = kd_multilabel(parts(), a_th=0.5, cache=cache)
        losses.append(trained(task, tmp_path / str(cache), scenes(), epochs=1).history[-1].loss)
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_what_does_not_fit_is_named(tmp_path) -> None:
    with pytest.raises(UsageError, match="a_th 2"):
        kd_multilabel(parts(), a_th=2)
    with pytest.raises(UsageError, match="weights go from 0"):
        kd_multilabel(parts(), alpha=-1)
    with pytest.raises(UsageError, match="no teacher"):
        kd_multilabel(Parts(net(classes=CLASSES), None, CLASSES))
    with pytest.raises(UsageError, match="a row an image"):
        trained(kd_multilabel(parts()), tmp_path, images())


def test_both_heads_are_deployed_as_the_mean_of_their_probabilities(tmp_path) -> None:
    made = parts(4, 6)
    task = kd_multilabel(made, a_th=0.3, ensemble=True)
    trained(task, tmp_path, scenes(), epochs=1)
    z = made.student.eval().embed(X)
    own, shared = made.student.head(z).sigmoid(), made.teacher.head(task.projector(z)).sigmoid()
    assert torch.allclose(task.deployable()(X).sigmoid(), 0.7 * own + 0.3 * shared, atol=1e-5)
    far = HeadEnsemble(torch.nn.Linear(1, 2), torch.nn.Linear(1, 2), 0.5, several=True)
    assert bool(far(torch.tensor([[1e6], [-1e6]])).isfinite().all())


def test_distance_and_a_head_of_another_stage() -> None:
    made = parts()
    task = kd_multilabel(made, alpha=0.0, beta=1.0, distance="cosine").eval()
    terms = task.step(BATCH, None).terms
    assert float(terms["cosine"]) == pytest.approx(
        float(distance(made.student.embed(X), made.teacher.embed(X), "cosine"))
    )
    head = net(6, 5, CLASSES).head
    task = kd_multilabel(Parts(net(6, 0, CLASSES), net(6, 1, CLASSES), CLASSES, head))
    assert torch.equal(task.student.head.weight, head.weight) and not task.student.head.weight.requires_grad
    with pytest.raises(UsageError, match="distance 'far'"):
        kd_multilabel(parts(), distance="far")
