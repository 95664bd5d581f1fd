"""Golden numbers and properties of the semantic diversity loss, and the loop over the batch it replaces."""

import pytest
import torch
import torch.nn.functional as F

from edgesmith.compress.sdl import SemanticDiversityLoss, diversity, rank_loss, row_use, spread
from edgesmith.models.semantic_head import label_scores

DOUBLE = torch.float64
A = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]], dtype=DOUBLE)
BANK = torch.tensor([[1.0, 0.2], [0.1, 1.0], [-1.0, 0.5]], dtype=DOUBLE)
Y = torch.tensor([[1, 1, 0]])


def batch(images: int = 5, rows: int = 3, classes: int = 7, width: int = 4):
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(images, rows, width, dtype=DOUBLE, generator=generator)
    bank = torch.randn(classes, width, dtype=DOUBLE, generator=generator)
    targets = torch.randint(-1, 2, (images, classes), generator=generator)
    targets[0], targets[1] = 0, 1  # without a positive label, and without a negative one
    return directions, bank, targets


def looped(directions, bank, targets, spread_weight, negatives) -> torch.Tensor:
    """The paper's equations image by image."""
    total = directions.new_zeros(())
    for rows, labels in zip(directions, targets):
        scores = (rows @ bank.T).amax(0)
        there, absent = labels == 1, negatives(labels)
        rank = sum(F.softplus(scores[absent] - s).sum() for s in scores[there]) / max(1, int(there.sum()))
        div = bank[there].var(0).sum() if int(there.sum()) > 1 else 0.0
        total = total + 2 * ((1 - spread_weight) * (1 + div) * rank + spread_weight * rows.var(0).sum())
    return total / len(directions)


def test_golden_numbers() -> None:
    assert label_scores(A, BANK).tolist() == [[1.0, 1.0, 0.5]]
    assert float(rank_loss(label_scores(A, BANK), Y)) == pytest.approx(0.474077, abs=5e-7)
    assert float(diversity(BANK, Y)) == pytest.approx(0.725) and float(spread(A)) == pytest.approx(1.0)
    assert float(SemanticDiversityLoss(0.3)(A, BANK, Y)) == pytest.approx(1.744896, abs=5e-7)


@pytest.mark.parametrize("elements", [1, 40, 1 << 18])
@pytest.mark.parametrize("unknown", ["negative", "ignore"])
def test_it_is_the_loop_over_the_batch_whatever_the_parts(unknown, elements) -> None:
    directions, bank, targets = batch()
    first, second = directions.clone().requires_grad_(), directions.clone().requires_grad_()
    loss = SemanticDiversityLoss(0.2, unknown, elements)(first, bank, targets)
    expected = looped(second, bank, targets, 0.2, lambda y: y != 1 if unknown == "negative" else y == 0)
    loss.backward()
    expected.backward()
    assert torch.allclose(loss, expected) and torch.allclose(first.grad, second.grad)


def test_one_direction_without_diversity_is_fast0tags_loss_twice() -> None:
    directions, bank, _ = batch(rows=1)
    targets = F.one_hot(torch.arange(5) % 7, 7)  # one positive label: no diversity
    rank = rank_loss(label_scores(directions, bank), targets)
    assert torch.allclose(SemanticDiversityLoss(0.0)(directions, bank, targets), 2 * rank.mean())
    assert float(diversity(bank, targets).abs().max()) == 0 and float(spread(directions).abs().max()) == 0


def test_the_order_of_the_directions_does_not_matter() -> None:
    directions, bank, targets = batch()
    loss = SemanticDiversityLoss()
    assert torch.allclose(loss(directions, bank, targets), loss(directions[:, [2, 0, 1]], bank, targets))


def test_gradcheck_and_half_precision() -> None:
    directions, bank, targets = batch()
    loss = SemanticDiversityLoss(0.3)
    assert torch.autograd.gradcheck(lambda a: loss(a, bank, targets), (directions.requires_grad_(),))
    for dtype in (torch.float16, torch.bfloat16):
        wide = (60 * directions.detach()).to(dtype).requires_grad_()
        found = loss(wide, bank.to(dtype), targets)
        found.backward()
        assert found.dtype == torch.float32 and bool(found.isfinite()) and bool(wide.grad.isfinite().all())


def test_use_of_the_rows() -> None:
    bank, targets = torch.eye(2), torch.ones(1, 2, dtype=torch.long)
    even, single = torch.eye(2)[None], torch.tensor([[[1.0, 1.0], [0.0, 0.0]]])
    assert float(row_use(even, bank, targets)) == pytest.approx(1.0) and float(row_use(single, bank, targets)) == 0
    assert float(row_use(even[:, :1], bank, targets)) == 1 == float(row_use(even, bank, 0 * targets))
