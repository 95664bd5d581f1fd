import torch
from torch import nn

from edgesmith.compress.shared_head import HeadEnsemble, fold, orthogonal, procrustes


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
