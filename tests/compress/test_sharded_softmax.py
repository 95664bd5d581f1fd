"""On one process; test_partial_fc.py has the same on several."""

import pytest
import torch
import torch.nn.functional as F

from edgesmith.compress.ranks import Ranks, ranks
from edgesmith.compress.sharded_softmax import batch_sizes, gathered, sharded_cross_entropy
from edgesmith.errors import UsageError

LABELS = torch.tensor([0, 2, 2])


def logits(scale: float = 1.0) -> torch.Tensor:
    made = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return (scale * made).requires_grad_()


def test_without_a_process_group_there_is_one_rank() -> None:
    assert ranks() == Ranks(0, 1, None)


@pytest.mark.parametrize("scale", [1.0, 1e4])  # at 1e4 the plain sum of powers would overflow
def test_cross_entropy_and_its_gradient_on_one_rank(scale) -> None:
    ours, theirs = logits(scale), logits(scale)
    loss, expected = sharded_cross_entropy(ours, LABELS, Ranks()), F.cross_entropy(theirs, LABELS)
    (3 * loss).backward()
    (3 * expected).backward()
    assert torch.allclose(loss, expected) and torch.allclose(ours.grad, theirs.grad)


def test_the_gradient_is_that_of_the_formula() -> None:
    assert torch.autograd.gradcheck(lambda table: sharded_cross_entropy(table, LABELS, Ranks()), (logits(),))


def test_backward_twice_gives_the_same_gradient_twice() -> None:
    table = logits()
    loss = sharded_cross_entropy(table, LABELS, Ranks())
    first = torch.autograd.grad(loss, table, retain_graph=True)[0]
    assert torch.equal(first, torch.autograd.grad(loss, table)[0])


def test_gathering_on_one_rank_is_the_identity_times_the_factor() -> None:
    z = logits()
    out = gathered(z, (3,), Ranks(), factor=2.0)
    assert torch.equal(out, z) and torch.equal(torch.autograd.grad(out.sum(), z)[0], torch.full_like(z, 2.0))


@pytest.mark.parametrize(
    ("z", "labels", "said"),
    [
        (torch.zeros(3, 4), torch.tensor([0, 9, 5]), "rank 0 has label 9 .2 such"),
        (torch.zeros(3, 4), torch.tensor([0, -1, 2]), "rank 0 has label -1"),
        (torch.zeros(3, 5), LABELS, "embeddings of size 5"),
        (torch.zeros(2, 4), LABELS, "do not go together"),
        (torch.zeros(12), LABELS, "do not go together"),
        (torch.zeros(0, 4), LABELS[:0], "no rank has a sample"),
    ],
)
def test_what_does_not_fit_is_a_usage_error(z, labels, said) -> None:
    with pytest.raises(UsageError, match=said):
        batch_sizes(z, labels, 4, 5, Ranks())
    assert batch_sizes(torch.zeros(3, 4), LABELS, 4, 5, Ranks()) == (3,)
