import copy

import pytest
import torch
from torch import nn

from edgesmith.compress.shared_head import (
    HeadEnsemble,
    ProjectedNet,
    align_projector,
    borrow_head,
    embedding_size,
    finished,
    fold,
    make_projector,
    orthogonal,
    procrustes,
)
from edgesmith.compress.task import Batch, plain
from edgesmith.errors import UsageError
from tests.compress.training import net, parts, trained
from tests.models import tiny


def test_folding_equals_the_two_step_product() -> None:
    torch.manual_seed(0)
    head, projector, z = nn.Linear(7, 4), nn.Linear(5, 7, bias=False), torch.randn(9, 5)
    assert torch.allclose(fold(head, projector)(z), head(projector(z)), atol=1e-6)


def test_folding_keeps_a_head_without_bias_and_copies_without_projector() -> None:
    head = nn.Linear(7, 4, bias=False)
    assert fold(head, nn.Linear(5, 7, bias=False)).bias is None
    copied = fold(head, None)
    assert copied is not head and torch.equal(copied.weight, head.weight)


def test_procrustes_finds_a_rotation_and_a_lift() -> None:
    torch.manual_seed(0)
    for size_in, size_out in ((6, 6), (4, 6)):
        truth = orthogonal(size_in, size_out, seed=3).weight
        z = torch.randn(50, size_in)
        assert torch.allclose(procrustes(z, z @ truth.T), truth, atol=1e-4)


def test_procrustes_beats_other_orthogonal_maps() -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(40, 5), torch.randn(40, 5)
    best = (student @ procrustes(student, teacher).T - teacher).norm()
    others = [(student @ orthogonal(5, 5, seed).weight.T - teacher).norm() for seed in range(20)]
    assert all(best <= other for other in others)


def test_the_ensemble_is_equation_4() -> None:
    torch.manual_seed(0)
    own, shared, z = nn.Linear(5, 3), nn.Linear(5, 3), torch.randn(8, 5)
    expected = 0.7 * own(z).softmax(1) + 0.3 * shared(z).softmax(1)
    assert torch.allclose(HeadEnsemble(own, shared, 0.3)(z).softmax(1), expected, atol=1e-6)


X = torch.randn(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("size", [6, 9, 4])
@pytest.mark.parametrize("start", ["procrustes", "orthogonal", "linear"])
def test_a_teacher_trained_under_a_frozen_head_leaves_it_bit_identical(tmp_path, size, start) -> None:
    head = net(6, 5).head
    before = copy.deepcopy(head.state_dict())
    task = plain(parts(size, 6, head), projector=start)
    learning = {id(p) for p in task.phases[0].parameters() if p.requires_grad}
    assert not learning & {id(p) for p in task.student.head.parameters()}
    result = trained(task, tmp_path, weight_decay=0.5, optimizer="adamw", epochs=3)
    deployed = task.deployable()
    for found in (head, task.student.head, deployed.head):
        assert all(torch.equal(found.state_dict()[key], value) for key, value in before.items())
    assert result.history[-1].loss < result.history[0].loss
    assert isinstance(deployed, ProjectedNet) == (size != 6) and deployed.embed(X).shape == (5, 6)


def test_finished_folds_projector_and_head_into_one_matrix() -> None:
    made = borrow_head(net(9), net(6, 5).head, "shared_frozen", "linear", 0)
    deployed = finished(made)
    assert deployed.folded.weight.shape == (3, 9) and made.folded is None
    with torch.no_grad():
        assert torch.allclose(deployed(X), made.eval()(X), atol=1e-5)
        assert torch.allclose(deployed.embed(X), made.embed(X))
    again = finished(borrow_head(net(9), net(6, 8).head, "shared_frozen", "linear", 1))
    again.load_state_dict(deployed.state_dict())
    with torch.no_grad():
        assert torch.equal(again(X), deployed(X))


def test_shared_init_starts_from_the_head_and_free_ignores_it(tmp_path) -> None:
    head = net(6, 5).head
    started = borrow_head(net(), head, "shared_init", "linear", 0)
    assert torch.equal(started.head.weight, head.weight) and started.head.weight.requires_grad
    own = net()
    kept = own.head
    assert borrow_head(own, head, "free", "linear", 0) is own and own.head is kept
    task = plain(parts(6, 6, head), head_mode="shared_init")
    trained(task, tmp_path)
    assert not torch.equal(task.student.head.weight, head.weight)


def test_a_procrustes_start_turns_embeddings_to_their_class_vectors() -> None:
    made, labels = borrow_head(net(9), net(6, 5).head, "shared_frozen", "procrustes", 0).train(), torch.arange(5) % 3
    align_projector(made, lambda: Batch((X,), labels))
    assert made.training and not made.projector.weight.grad_fn

    def agreement() -> float:
        with torch.no_grad():
            return float((made.eval().embed(X) * made.head.weight[labels]).sum())

    best = agreement()
    for seed in range(20):
        made.projector = orthogonal(9, 6, seed)
        assert agreement() < best
    with pytest.raises(UsageError, match="no labels"):
        align_projector(made, lambda: Batch((X,), None))


def test_a_projector_is_aligned_only_where_it_was_asked_for(tmp_path) -> None:
    for start, moved in (("procrustes", True), ("orthogonal", False), ("linear", False)):
        task = plain(parts(9, 6, net(6, 5).head), projector=start)
        before = task.student.projector.weight.clone()
        trained(task, tmp_path / start, lr=1e-9, epochs=1)
        assert torch.allclose(before, task.student.projector.weight, atol=1e-3) != moved


def test_a_headless_net_may_borrow_a_head() -> None:
    made = borrow_head(net(6, classes=0), net(6, 5).head, "shared_frozen", "linear", 0)
    assert made(X).shape == (5, 3)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((net(classes=4), "shared_frozen", "linear"), "3 classes, the net 4"),
        ((net(), "shared", "linear"), "head_mode 'shared'"),
        ((net(9), "shared_init", "random"), "start 'random'"),
        ((tiny("linear"), "shared_frozen", "linear"), "no embed"),
    ],
)
def test_heads_that_do_not_fit_are_refused(arguments, words) -> None:
    borrower, mode, start = arguments
    with pytest.raises(UsageError, match=words):
        borrow_head(borrower, net(6, 5).head, mode, start, 0)


def test_the_size_of_an_embedding_is_known_with_and_without_a_head() -> None:
    projected = ProjectedNet(net(9, classes=0), make_projector(9, 6, "linear", 0))
    assert [embedding_size(n, "net") for n in (net(9), net(9, classes=0), projected)] == [9, 9, 6]
