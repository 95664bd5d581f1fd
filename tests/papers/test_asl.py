"""Golden numbers and properties of the asymmetric loss, computed by hand in double precision."""

import math

import pytest
import torch
import torch.nn.functional as F

from edgesmith.compress.asl import AsymmetricLoss, AsymmetricLossSingleLabel

DOUBLE = torch.float64
Z = torch.tensor([[2.0, -1.0, 0.5, -4.0]], dtype=DOUBLE)
Y = torch.tensor([[1, 0, 0, 0]])


def asl(gamma_pos: float, gamma_neg: float, clip: float, **options) -> AsymmetricLoss:
    return AsymmetricLoss(gamma_neg, gamma_pos, clip, **options)


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [((0, 0, 0), 1.432417), ((2, 2, 0), 0.401879), ((0, 4, 0.05), 0.218749), ((1, 4, 0.05), 0.106951)],
)
def test_golden_numbers(numbers, expected) -> None:
    assert float(asl(*numbers)(Z, Y)) == pytest.approx(expected, abs=5e-7)


def test_an_easy_negative_below_the_margin_gives_exactly_nothing() -> None:
    z = Z.clone().requires_grad_()
    asl(1, 4, 0.05)(z, Y).backward()
    assert z.grad[0, 3] == 0 and bool((z.grad[0, :3] != 0).all())
    assert float(asl(0, 0, 0.05)(Z[:, 3:], Y[:, 3:])) == 0


def test_without_focusing_it_is_binary_cross_entropy() -> None:
    torch.manual_seed(0)
    z, y = 8 * torch.randn(5, 7, dtype=DOUBLE), torch.randint(0, 2, (5, 7))
    for reduction in ("sum", "mean"):
        expected = F.binary_cross_entropy_with_logits(z, y.double(), reduction=reduction)
        assert torch.allclose(asl(0, 0, 0, reduction=reduction)(z, y), expected)


def test_equal_exponents_without_margin_are_the_focal_loss() -> None:
    torch.manual_seed(0)
    z, y = 3 * torch.randn(5, 7, dtype=DOUBLE), torch.randint(0, 2, (5, 7))
    p_t = torch.where(y == 1, z.sigmoid(), 1 - z.sigmoid())
    assert torch.allclose(asl(2, 2, 0)(z, y), -((1 - p_t) ** 2 * p_t.log()).sum())


@pytest.mark.parametrize("numbers", [(0, 4, 0.05), (0, 1.5, 0.2), (0, 7, 0.0)])
def test_the_gradient_of_a_negative_is_formula_9(numbers) -> None:
    _, g, m = numbers
    z = torch.linspace(-6, 6, 41, dtype=DOUBLE)[None].requires_grad_()
    asl(*numbers)(z, torch.zeros(1, 41)).backward()
    p = z.detach().sigmoid()
    p_m = (p - m).clamp_min(0)
    formula = p * (1 - p) * p_m**g * (1 / (1 - p_m) - g * torch.log(1 - p_m) / p_m)
    assert torch.allclose(z.grad, torch.where(p > m, formula, 0.0), atol=1e-12)


def test_very_hard_negatives_are_attenuated() -> None:
    z = torch.tensor([[1.0, 8.0]], dtype=DOUBLE, requires_grad=True)
    asl(0, 4, 0.2)(z, torch.zeros(1, 2)).backward()
    assert 0 < z.grad[0, 1] < z.grad[0, 0]


@pytest.mark.parametrize("numbers", [(0, 0, 0), (1, 4, 0.05), (0.5, 1.5, 0.1), (2, 0.3, 0.0)])
def test_gradcheck(numbers) -> None:
    torch.manual_seed(0)
    z, y = (3 * torch.randn(3, 5, dtype=DOUBLE)).requires_grad_(), torch.randint(-1, 2, (3, 5))
    assert torch.autograd.gradcheck(lambda z: asl(*numbers)(z, y), (z,))


def test_the_weights_of_a_stopped_gradient_are_constants() -> None:
    torch.manual_seed(0)
    first, y = torch.randn(4, 6, dtype=DOUBLE), torch.randint(0, 2, (4, 6))
    z, again = first.clone().requires_grad_(), first.clone().requires_grad_()
    asl(1, 3, 0.05, detach_weights=True)(z, y).backward()
    p_m = (again.sigmoid() - 0.05).clamp_min(0)
    weight = torch.where(y == 1, 1 - again.sigmoid(), p_m**3).detach()
    (-weight * torch.where(y == 1, F.logsigmoid(again), torch.log(1 - p_m))).sum().backward()
    assert torch.allclose(z.grad, again.grad)
    with torch.no_grad():  # the authors' switch would turn gradients on again in here
        asl(1, 3, 0.05, detach_weights=True)(z, y)
        assert not torch.is_grad_enabled()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_half_precision_gives_no_nan_and_the_loss_in_fp32(dtype) -> None:
    z = torch.linspace(-60, 60, 121).to(dtype)[None].expand(2, -1).clone().requires_grad_()
    y = torch.stack([torch.ones(121), torch.zeros(121)])
    loss = asl(1, 4, 0.05)(z, y)
    loss.backward()
    assert loss.dtype == torch.float32 and bool(loss.isfinite()) and bool(z.grad.isfinite().all())
    assert z.grad.dtype == dtype and float(z.grad[0, 0]) == -1  # a lost positive is pulled with full strength


def test_single_label_golden_numbers() -> None:
    z, y = torch.tensor([[1.0, 0.0, -1.0]], dtype=DOUBLE), torch.tensor([0])
    p = [math.exp(v) / (math.e + 1 + 1 / math.e) for v in (1, 0, -1)]
    weights = [(1 - p[0]) ** 1, p[1] ** 4, p[2] ** 4]
    wanted = [0.9 + 0.1 / 3, 0.1 / 3, 0.1 / 3]
    expected = -sum(t * w * math.log(q) for t, w, q in zip(wanted, weights, p))
    assert float(AsymmetricLossSingleLabel(1.0, 4.0, 0.1)(z, y)) == pytest.approx(expected, rel=1e-12)
    assert torch.allclose(AsymmetricLossSingleLabel(0.0, 4.0, 0.0)(z, y), F.cross_entropy(z, y))
