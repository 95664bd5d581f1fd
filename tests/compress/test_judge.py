import pytest
import torch
import torch.nn.functional as F

from edgesmith.compress.judge import sigmoid_kl

DOUBLE = torch.float64


def test_it_is_the_divergence_of_coins() -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(3, 4, dtype=DOUBLE), torch.randn(3, 4, dtype=DOUBLE)
    p, q = (student / 2).sigmoid(), (teacher / 2).sigmoid()
    expected = (q * (q / p).log() + (1 - q) * ((1 - q) / (1 - p)).log()).mean() * 4
    assert torch.allclose(sigmoid_kl(student, teacher, 2.0), expected)
    assert float(sigmoid_kl(teacher, teacher, 2.0).abs()) < 1e-15


def test_its_gradient_is_that_of_soft_labels() -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(3, 4, dtype=DOUBLE, requires_grad=True), torch.randn(3, 4, dtype=DOUBLE)
    (found,) = torch.autograd.grad(sigmoid_kl(student, teacher, 1.0), student)
    (expected,) = torch.autograd.grad(F.binary_cross_entropy_with_logits(student, teacher.sigmoid()), student)
    assert torch.allclose(found, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype) -> None:
    grid = torch.linspace(-60, 60, 25).to(dtype)
    student, teacher = grid[:, None].expand(25, 25).clone().requires_grad_(), grid.expand(25, 25)
    loss = sigmoid_kl(student, teacher, 1.0)
    loss.backward()
    assert loss.dtype == torch.float32 and bool(loss.isfinite()) and bool(student.grad.isfinite().all())
    assert float(loss.detach()) >= 0
