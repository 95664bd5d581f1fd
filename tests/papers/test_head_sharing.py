"""Golden numbers of the head-sharing equations, computed by hand in double precision."""

import pytest
import torch
from torch import nn

from edgesmith.compress.task import cross_entropy
from edgesmith.compress.terms import kl

DOUBLE = torch.float64


@pytest.mark.parametrize(("temperature", "expected"), [(4.0, 0.305721), (1.0, 0.115611)])
def test_kl_with_factor_t_squared(temperature, expected) -> None:
    student, teacher = torch.tensor([[1.0, 0, -1]], dtype=DOUBLE), torch.tensor([[2.0, 0, -2]], dtype=DOUBLE)
    assert float(kl(student, teacher, temperature)) == pytest.approx(expected, abs=5e-7)


def test_the_student_through_the_teachers_head() -> None:
    head = nn.Linear(2, 3, dtype=DOUBLE)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[1.0, 0], [0, 1], [-1, -1]]))
        head.bias.zero_()
    z_s, z_t = torch.tensor([[1.0, 0.5]], dtype=DOUBLE), torch.tensor([[2.0, 0]], dtype=DOUBLE)
    shared, theirs = head(z_s), head(z_t)
    assert shared.tolist() == [[1.0, 0.5, -1.5]] and theirs.tolist() == [[2.0, 0.0, -2.0]]
    assert float(kl(shared, theirs, 4.0)) == pytest.approx(0.280020, abs=5e-7)
    assert float(cross_entropy(shared, torch.tensor([0]))) == pytest.approx(0.523909, abs=5e-7)


def test_the_gradient_is_the_residual_seen_through_the_teachers_head() -> None:
    torch.manual_seed(0)
    head, z_t, temperature = nn.Linear(4, 6, dtype=DOUBLE), torch.randn(1, 4, dtype=DOUBLE), 4.0
    z_s = torch.randn(1, 4, dtype=DOUBLE, requires_grad=True)
    kl(head(z_s), head(z_t), temperature).backward()
    residual = (head(z_s) / temperature).softmax(1) - (head(z_t) / temperature).softmax(1)
    assert torch.allclose(z_s.grad, temperature * residual @ head.weight)
