import pytest
import torch

from edgesmith.compress.sdl import SemanticDiversityLoss, rank_loss
from edgesmith.errors import UsageError

A, BANK, Y = torch.randn(2, 3, 4), torch.randn(5, 4), torch.zeros(2, 5)


@pytest.mark.parametrize(
    ("directions", "bank", "targets", "found"),
    [
        (A, torch.randn(5, 6), Y, "same length"), (A, BANK, torch.zeros(2, 4), "a column a label"),
        (A, BANK, torch.zeros(3, 5), "a row an image"), (A[0], BANK, Y, "(N, M, d)"),
        (A, BANK, torch.full((2, 5), 3.0), "3.0 at (0, 0)"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(directions, bank, targets, found) -> None:
    with pytest.raises(UsageError) as caught:
        SemanticDiversityLoss()(directions, bank, targets)
    assert found in str(caught.value)


@pytest.mark.parametrize("wrong", [{"spread_weight": 1.5}, {"unknown": "positive"}, {"elements": 0}])
def test_wrong_numbers(wrong) -> None:
    with pytest.raises(UsageError, match="semantic diversity"):
        SemanticDiversityLoss(**wrong)


def test_images_without_pairs_have_no_rank_loss() -> None:
    scores = torch.randn(3, 4, requires_grad=True)
    targets = torch.tensor([[0, 0, 0, 0], [1, 1, 1, 1], [-1, -1, 1, -1]])
    found = rank_loss(scores, targets, "ignore")
    assert found.tolist() == [0, 0, 0]
    found.sum().backward()
    assert not bool(scores.grad.any())
    assert float(rank_loss(scores, targets, "negative")[2].detach()) > 0  # here what is unknown is a negative


def test_the_regulariser_is_left_for_an_image_without_labels() -> None:
    found = SemanticDiversityLoss(0.5)(A, BANK, Y)
    assert torch.allclose(found, A.var(1).sum(1).mean())
