import pytest
import torch

from edgesmith.compress.best_match import best_match
from edgesmith.models.semantic_head import label_scores

DOUBLE = torch.float64


def nets(rows: int, images: int = 4, labels: int = 6, width: int = 5):
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(images, rows, width, dtype=DOUBLE, generator=generator)
    return directions, torch.randn(labels, width, dtype=DOUBLE, generator=generator)


def gradients(score, directions, bank, outer) -> list[torch.Tensor]:
    inputs = [directions.clone().requires_grad_(), bank.clone().requires_grad_()]
    scores = score(*inputs)
    return [scores.detach(), *torch.autograd.grad(scores, inputs, outer)]


@pytest.mark.parametrize("rows", [1, 2, 3, 7])
def test_scores_and_gradients_are_those_of_autograd(rows) -> None:
    directions, bank = nets(rows)
    outer = torch.randn(4, 6, dtype=DOUBLE)
    for own, theirs in zip(
        gradients(best_match, directions, bank, outer), gradients(label_scores, directions, bank, outer)
    ):
        assert torch.allclose(own, theirs)


@pytest.mark.parametrize("rows", [2, 4])
def test_directions_that_tie_share_the_gradient(rows) -> None:
    directions, bank = nets(rows)
    directions[1] = directions[1, :1]  # all the same
    directions[2, 1] = directions[2, 0]
    directions[3] = 0
    outer = torch.randn(4, 6, dtype=DOUBLE)
    for own, theirs in zip(
        gradients(best_match, directions, bank, outer), gradients(label_scores, directions, bank, outer)
    ):
        assert torch.allclose(own, theirs)


@pytest.mark.parametrize("rows", [2, 4])
def test_gradcheck(rows) -> None:
    directions, bank = nets(rows)
    assert torch.autograd.gradcheck(best_match, (directions.requires_grad_(), bank.requires_grad_()))


def test_a_direction_that_is_never_best_and_an_empty_batch() -> None:
    bank = torch.eye(3)
    directions = torch.tensor([[[1.0, 1, 1], [2, 2, 2], [0, 0, 0]]]).requires_grad_()
    best_match(directions, bank).sum().backward()
    assert directions.grad.tolist() == [[[0, 0, 0], [1, 1, 1], [0, 0, 0]]]
    nothing = torch.zeros(0, 3, 3, requires_grad=True)
    best_match(nothing, bank).sum().backward()
    assert nothing.grad.shape == (0, 3, 3)
