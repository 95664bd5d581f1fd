import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from edgesmith.compress.head_sharing import kd, th_kd
from edgesmith.compress.optimizer import OptimizerChoice, make_optimizer
from edgesmith.compress.task import Batch, Parts
from edgesmith.compress.terms import distance, kl
from edgesmith.errors import UsageError
from edgesmith.models.resnet import build
from tests.models import tiny

X, Y = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 3
BATCH = Batch((X,), Y)


def net(embedding: int = 6, seed: int = 0, classes: int = 3) -> nn.Module:
    return build(width=4, blocks=(1,), size=16, embedding=embedding, classes=classes, seed=seed)[0]


def parts(student: int = 6, teacher: int = 6) -> Parts:
    return Parts(net(student, 0), net(teacher, 1), 3)


def train(task, steps: int = 4):
    optimizer = make_optimizer(task.phases[0].parameters(), OptimizerChoice(weight_decay=1e-2))
    task.train()
    for _ in range(steps):
        optimizer.zero_grad()
        task.step(BATCH, task.phases[0]).loss.backward()
        optimizer.step()
    return task


def same(first: nn.Module, second: nn.Module) -> bool:
    a, b = first.state_dict(), second.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_equal_heads_give_equal_kl_terms() -> None:
    made = parts()
    made.student.head.load_state_dict(made.teacher.head.state_dict())
    terms = th_kd(made).eval().step(BATCH, None).terms
    assert torch.equal(terms["kl_th"], terms["kl"]) and torch.equal(terms["ce_th"], terms["ce"])


@pytest.mark.parametrize("sizes", [(6, 6), (4, 6), (6, 4)])
def test_the_frozen_teacher_gets_no_gradient_no_decay_and_stays_bit_identical(sizes) -> None:
    made = parts(*sizes)
    before = copy.deepcopy(made.teacher)
    task = train(th_kd(made, beta=0.5))
    learning = {id(p) for p in task.phases[0].parameters()}
    assert not learning & {id(p) for p in made.teacher.parameters()}
    assert all(p.grad is None and not p.requires_grad for p in made.teacher.parameters())
    assert same(before, made.teacher) and not made.teacher.training and made.student.training


def test_a_th_0_is_plain_distillation_bit_for_bit() -> None:
    first, second = train(kd(parts(), alpha=1.5, beta=0.3)), train(th_kd(parts(), 0.0, alpha=1.5, beta=0.3))
    assert same(first.student, second.student)


def test_plain_distillation_is_equation_0() -> None:
    made = parts()
    task = kd(made, alpha=1.5, beta=0.3, temperature=2.0).eval()
    s, t = made.student(X), made.teacher(X)
    expected = F.cross_entropy(s, Y) + 1.5 * 4 * F.kl_div(
        (s / 2).log_softmax(1), (t / 2).softmax(1), reduction="batchmean"
    )
    z = F.normalize(made.student.embed(X)) - F.normalize(made.teacher.embed(X))
    assert torch.allclose(task.step(BATCH, None).loss, expected + 0.3 * z.square().sum() / 8, atol=1e-6)


def test_the_mix_is_equations_1_to_3() -> None:
    made = parts()
    terms = th_kd(made, 0.3, alpha=1.5, beta=0.2).eval().step(BATCH, None)
    t = {name: float(value) for name, value in terms.terms.items()}
    expected = 0.7 * t["ce"] + 0.3 * t["ce_th"] + 1.5 * (0.7 * t["kl"] + 0.3 * t["kl_th"]) + 0.2 * t["l2"]
    assert float(terms.loss.detach()) == pytest.approx(expected, rel=1e-6)


def test_equal_embeddings_make_every_th_term_0() -> None:
    made = Parts(net(6, 1), net(6, 1), 3)
    terms = th_kd(made, beta=1.0).eval().step(BATCH, None).terms
    assert abs(float(terms["kl_th"])) < 1e-6 and float(terms["l2"]) == 0


@pytest.mark.parametrize("kind", ["l2", "cosine"])
def test_the_distance_is_a_mean_that_ignores_length_and_batch_size(kind) -> None:
    s, t = torch.randn(4, 6), torch.randn(4, 6)
    once = distance(s, t, kind)
    assert torch.allclose(once, distance(3 * s.repeat(5, 1), t.repeat(5, 1), kind), atol=1e-6)
    assert torch.allclose(distance(s, t, "l2"), 2 * distance(s, t, "cosine"), atol=1e-6)


@pytest.mark.parametrize("sizes", [(4, 6), (6, 4)])
@pytest.mark.parametrize("start", ["procrustes", "orthogonal"])
def test_unequal_embeddings_get_a_projector_that_learns(sizes, start) -> None:
    task = th_kd(parts(*sizes), 0.5, beta=1.0, projector=start)
    assert task.projector.weight.shape == (sizes[1], sizes[0])
    at_first = task.projector.weight.clone()
    task.step(BATCH, None)
    assert torch.equal(task.projector.weight, at_first) == (start == "orthogonal")
    aligned = task.projector.weight.clone()
    train(task, 2)
    assert not torch.equal(task.projector.weight, aligned) and not bool(task.to_align)


def test_a_procrustes_start_is_nearer_than_a_random_one() -> None:
    losses = [
        float(th_kd(parts(4, 6), 0.5, beta=1.0, projector=s).eval().step(BATCH, None).terms["l2"])
        for s in ("procrustes", "orthogonal")
    ]
    assert losses[0] < losses[1]


@pytest.mark.parametrize("size", [6, 4])
def test_a_th_1_deploys_the_folded_teachers_head(size) -> None:
    made = parts(size, 6)
    own = made.student.head.weight.clone()
    task = train(th_kd(made, 1.0)).eval()
    z = made.student.embed(X)
    expected = made.teacher.head(z if task.projector is None else task.projector(z))
    deployed = task.deployable()
    assert torch.allclose(deployed(X), expected, atol=1e-5) and isinstance(deployed.head, nn.Linear)
    assert torch.equal(made.student.head.weight, own)


def test_by_default_the_student_alone_is_deployed() -> None:
    task = train(th_kd(parts(4, 6))).eval()
    assert same(task.deployable(), task.student) and type(task.deployable()) is type(task.student)


def test_the_ensemble_answers_with_both_heads() -> None:
    made = parts(4, 6)
    task = train(th_kd(made, 0.25, ensemble=True)).eval()
    z = made.student.embed(X)
    expected = 0.75 * made.student.head(z).softmax(1) + 0.25 * made.teacher.head(task.projector(z)).softmax(1)
    deployed = task.deployable()
    assert torch.allclose(deployed(X).softmax(1), expected, atol=1e-5)
    assert torch.equal(deployed.embed(X), z) and made.student.head is not None


@pytest.mark.parametrize("size", [6, 4])
def test_a_student_without_a_head_can_learn_from_the_teachers_alone(size) -> None:
    made = Parts(net(size, 0, classes=0), net(6, 1), 3)
    task = train(th_kd(made, 1.0)).eval()
    assert task.deployable()(X).shape == (8, 6)
    with pytest.raises(UsageError, match="no linear head"):
        th_kd(made, 0.5)


def test_the_state_leaves_the_teacher_out_and_resumes() -> None:
    task = train(th_kd(parts(4, 6), beta=1.0))
    state = copy.deepcopy(task.state_dict())
    assert not any(key.startswith("teacher") for key in state)
    again = th_kd(parts(4, 6), beta=1.0)
    again.load_state_dict(state)
    assert same(train(task).student, train(again).student)


def test_plain_distillation_takes_any_teacher_that_gives_logits() -> None:
    student, teacher = tiny("linear"), tiny("linear")
    task = kd(Parts(student, teacher, 5))
    assert float(task.step(Batch((torch.randn(2, 3, 8, 8),), Y[:2]), None).terms["kl"]) == pytest.approx(0, abs=1e-6)
    with pytest.raises(UsageError, match="embed"):
        th_kd(Parts(student, teacher, 5))


def test_losses_are_fp32_under_autocast() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        output = th_kd(parts(), beta=1.0).step(BATCH, None)
    assert output.loss.dtype == torch.float32 and output.terms["kl_th"].dtype == torch.float32
    assert kl(torch.randn(2, 3).bfloat16(), torch.randn(2, 3).bfloat16(), 4.0).dtype == torch.float32


@pytest.mark.parametrize(
    "options",
    [{"a_th": 1.5}, {"alpha": -1}, {"beta": -1}, {"temperature": 0}, {"distance": "l1"}, {"projector": "none"}],
)
def test_wrong_options_are_usage_errors(options) -> None:
    with pytest.raises(UsageError):
        th_kd(parts(), **options)


def test_parts_that_do_not_fit_are_usage_errors() -> None:
    for wrong in (
        Parts(net(), None, 3),
        Parts(net(), net(), 4),
        Parts(net(), net(classes=0), 3),
        Parts(net(), net(classes=5), 3),
    ):
        with pytest.raises(UsageError):
            th_kd(wrong)
