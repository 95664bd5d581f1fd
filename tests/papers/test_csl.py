"""Golden numbers and special cases of the class-aware selective loss."""

import pytest
import torch

from edgesmith.compress.asl import AsymmetricLoss
from edgesmith.compress.csl import SelectiveLoss, highest

DOUBLE = torch.float64
Z = torch.tensor([[2.0, -1.0, 0.5, -4.0]], dtype=DOUBLE)
Y = torch.tensor([[1, 0, -1, -1]])
NUMBERS = {"gamma_pos": 0.0, "gamma_neg": 1.0, "gamma_unknown": 4.0}


def batch(seed: int = 0, images: int = 6, classes: int = 9) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    z = 2 * torch.randn(images, classes, dtype=DOUBLE, generator=generator)
    return z, torch.randint(-1, 2, (images, classes), generator=generator)


def test_golden_numbers() -> None:
    assert float(SelectiveLoss(eta=None, top_k=0, **NUMBERS)(Z, Y)) == pytest.approx(0.357407, abs=5e-7)
    assert float(SelectiveLoss(eta=None, top_k=1, **NUMBERS)(Z, Y)) == pytest.approx(0.211177, abs=5e-7)
    keep = SelectiveLoss(eta=None, top_k=1).likely(Z, Y)
    assert keep.tolist() == [[1, 1, 0, 1]]


@pytest.mark.parametrize("mode", ["ignore", "negative", "selective"])
def test_complete_labels_make_it_the_asymmetric_loss(mode) -> None:
    z, y = batch()
    y = y.clamp_min(0)
    loss = SelectiveLoss(mode, 3.0, 1.0, 4.0, 0.05, prior=torch.rand(9))
    assert torch.equal(loss(z, y), AsymmetricLoss(3.0, 1.0, 0.05)(z, y))


def test_eta_1_and_k_0_are_the_negative_mode() -> None:
    z, y = batch()
    selective = SelectiveLoss(eta=1.0, top_k=0, prior=torch.rand(9), **NUMBERS)
    assert torch.equal(selective(z, y), SelectiveLoss("negative", **NUMBERS)(z, y))
    # With the exponent of annotated negatives it takes unknown labels for absent ones.
    same = SelectiveLoss("negative", gamma_neg=2.0, gamma_unknown=2.0)
    assert torch.allclose(same(z, y), AsymmetricLoss(2.0, 0.0, 0.0)(z, y.clamp_min(0)))


def test_eta_of_minus_infinity_is_the_ignore_mode() -> None:
    z, y = batch()
    selective = SelectiveLoss(eta=-float("inf"), top_k=0, prior=torch.rand(9), **NUMBERS)
    assert torch.allclose(selective(z, y), SelectiveLoss("ignore", **NUMBERS)(z, y))
    assert torch.allclose(SelectiveLoss("ignore", **NUMBERS)(z, y), AsymmetricLoss(1.0, 0.0, 0.0)(z, y))


def test_only_unknown_labels_of_frequent_classes_are_left_out() -> None:
    z, y = batch()
    prior = torch.tensor([0.9, 0.1, 0.6, 0.5, 0.0, 0.2, 0.3, 0.4, 1.0])
    z = z.requires_grad_()
    SelectiveLoss(eta=0.5, top_k=0, prior=prior, **NUMBERS)(z, y).backward()
    left_out = (y == -1) & (prior > 0.5)
    assert torch.equal(z.grad == 0, left_out) and bool(left_out.any())


@pytest.mark.parametrize("over", ["batch", "image"])
@pytest.mark.parametrize("top_k", [1, 2, 4])
def test_the_set_of_likely_labels_has_its_size(over, top_k) -> None:
    z, y = batch()
    keep = SelectiveLoss(eta=None, top_k=top_k, over=over).likely(z, y)
    dropped, unknown = keep == 0, y == -1
    assert not bool((dropped & ~unknown).any())
    if over == "batch":
        assert int(dropped.sum()) == min(top_k * len(z), int(unknown.sum()))
        assert float(z[dropped].min()) >= float(z[unknown & ~dropped].max()) if bool((unknown & ~dropped).any()) else 1
    else:
        assert torch.equal(dropped.sum(1), unknown.sum(1).clamp_max(top_k))


def test_annotated_entries_weigh_by_how_many_there_are() -> None:
    z, y = batch()
    expected = sum(
        (1 + 1 / (1 + int((row != -1).sum()))) * AsymmetricLoss(1.0, 0.0, 0.0)(logits[None], row[None])
        for logits, row in zip(z, y)
    )
    assert torch.allclose(SelectiveLoss("normalized", **NUMBERS)(z, y), expected)


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_search_by_spans_finds_what_a_full_sort_does(compiled) -> None:
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(16, 1001, generator=generator)
    y = torch.where(torch.rand(16, 1001, generator=generator) < 0.7, -1, 0)
    values, places = highest(z, y, 24, compiled)
    best = z.masked_fill(y != -1, -torch.inf).flatten().topk(24)
    assert set(places.tolist()) == set(best.indices.tolist()) and torch.equal(z.flatten()[places], values)


@pytest.mark.parametrize("mode", ["ignore", "negative", "selective", "normalized"])
def test_gradcheck_and_half_precision(mode) -> None:
    z, y = batch()
    loss = SelectiveLoss(mode, prior=torch.rand(9), top_k=1, **NUMBERS)
    assert torch.autograd.gradcheck(lambda z: loss(z, y), (z.requires_grad_(),))
    for dtype in (torch.float16, torch.bfloat16):
        wide = torch.linspace(-60, 60, 54).view(6, 9).to(dtype).requires_grad_()
        loss(wide, y).backward()
        assert bool(wide.grad.isfinite().all())
