"""Semantic diversity loss: positives ranked over negatives, more so the less alike an image's labels are.

Source: Ben-Cohen et al. 2021, arXiv 2105.05926, equations (10) to (13).
differs from the authors' code: no loop over the batch; in fp32, by softplus; one positive label has diversity 0; the
gradient is multiplied by those directions only that are some label's best (best_match.py).
"""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from edgesmith.compress.best_match import best_match
from edgesmith.compress.focal import check_values
from edgesmith.compress.task import at_least_fp32
from edgesmith.errors import UsageError

Unknown = Literal["negative", "ignore"]
Positives = tuple[Tensor, Tensor]  # images and labels, pair by pair, in the order of the images
ELEMENTS = 1 << 18  # pairs of labels looked at together: 1 MiB in fp32


class SemanticDiversityLoss(nn.Module):
    """The mean over images of 2 [(1 - spread_weight) (1 + div) L_rank + spread_weight L_reg], equation (13).

    unknown: labels of -1 count as negatives (the authors' code) or in no pair. An image without a positive label, or
    without a negative one, has L_rank = 0; it still counts in the mean. A batch's pairs are taken in parts of at most
    `elements`, which bounds the memory.

    Shape: directions (N, M, d), bank (C, d), targets (N, C) of 1, 0, -1.
    """

    def __init__(self, spread_weight: float = 0.3, unknown: Unknown = "negative", elements: int = ELEMENTS) -> None:
        super().__init__()
        if not 0 <= spread_weight <= 1 or unknown not in get_args(Unknown) or elements < 1:
            found = f"spread_weight {spread_weight}, unknown {unknown!r}, elements {elements}"
            raise UsageError("semantic diversity", found, f"a weight in 0..1, unknown one of {get_args(Unknown)}")
        self.spread_weight, self.unknown, self.elements = spread_weight, unknown, elements

    def forward(self, directions: Tensor, bank: Tensor, targets: Tensor) -> Tensor:
        return self.scored(directions, bank, targets)[0]

    def scored(self, directions: Tensor, bank: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The loss, and the labels' scores that it took. Shape: -> (), (N, C)."""
        check_shapes(directions, bank, targets)
        with torch.autocast(directions.device.type, enabled=False):
            directions = at_least_fp32(directions)
            bank = bank.to(directions.dtype)
            scores = best_match(directions, bank)
            ranked = self.ranked(scores, bank, targets)
            return 2 * ((1 - self.spread_weight) * ranked + self.spread_weight * spread(directions)).mean(), scores

    def ranked(self, scores: Tensor, bank: Tensor, targets: Tensor) -> Tensor:
        """(1 + div) L_rank of each image, given its labels' scores. Shape: (N, C), (C, d), (N, C) -> (N,)."""
        positives, out = _sides(targets, self.unknown)
        ranked: Tensor = _Ranked.apply(scores, positives, out, self.elements)
        return (1 + _diversity(bank, positives, len(targets))) * ranked


def rank_loss(scores: Tensor, targets: Tensor, unknown: Unknown = "negative", elements: int = ELEMENTS) -> Tensor:
    """Mean over positives of the sum over negatives of log(1 + exp(s_n - s_p)), equation (10), image by image.

    Shape: (N, C) twice -> (N,).
    """
    ranked: Tensor = _Ranked.apply(scores, *_sides(targets, unknown), elements)
    return ranked


def _sides(targets: Tensor, unknown: Unknown) -> tuple[Positives, Tensor]:
    """Where the positive labels are, and what is no negative one, (N, C)."""
    there = targets == 1
    return _places(there), there if unknown == "negative" else targets != 0


def _places(there: Tensor) -> Positives:
    image, label = there.nonzero(as_tuple=True)
    return image, label


def diversity(bank: Tensor, targets: Tensor) -> Tensor:
    """Variance of the positive labels' vectors, summed over their numbers, equation (11); 0 for less than two labels.

    Shape: (C, d), (N, C) -> (N,).
    """
    return _diversity(bank, _places(targets == 1), len(targets))


def _diversity(bank: Tensor, positives: Positives, images: int) -> Tensor:
    image, label = positives
    count = torch.bincount(image, minlength=images)
    vectors = bank.index_select(0, label)
    mean = bank.new_zeros(images, bank.shape[1]).index_add_(0, image, vectors) / count.clamp_min(1)[:, None]
    apart = vectors.sub_(mean.index_select(0, image)).square().sum(1)
    return bank.new_zeros(images).index_add_(0, image, apart) / (count - 1).clamp_min(1)


def spread(directions: Tensor) -> Tensor:
    """Variance of an image's directions, summed over their numbers, equation (12); 0 for one direction.

    Shape: (N, M, d) -> (N,).
    """
    if directions.shape[1] == 1:
        return directions.new_zeros(len(directions))
    apart = directions - directions.mean(1, keepdim=True)
    return apart.square().sum((1, 2)) / (directions.shape[1] - 1)


@torch.no_grad()
def row_use(directions: Tensor, bank: Tensor, targets: Tensor) -> Tensor:
    """Entropy of which direction a positive label's best match is, as a share of its most: 1 even use, 0 a single row.

    The maximum sends gradient to one row only, so a row that is never best never learns.
    """
    image, label = (targets == 1).nonzero(as_tuple=True)
    rows = directions.shape[1]
    if rows == 1 or not len(image):
        return directions.new_ones((), dtype=torch.float32)
    matches = torch.einsum("tmd,td->tm", at_least_fp32(directions)[image], at_least_fp32(bank)[label])
    share = torch.bincount(matches.argmax(1), minlength=rows).float() / len(image)
    return -torch.special.xlogy(share, share).sum() / math.log(rows)


class _Ranked(torch.autograd.Function):
    """The ranking loss and its gradient in one pass over the pairs, so that no pair is kept for the way back."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, positives: Positives, out: Tensor, elements: int) -> Tensor:
        image, label = positives
        share = 1 / torch.bincount(image, minlength=len(scores)).index_select(0, image).to(scores.dtype)
        total, gradient = scores.new_zeros(len(scores)), torch.zeros_like(scores)
        own, negatives = scores[positives], scores.masked_fill(out, -torch.inf)  # what is out is in no pair
        for first in range(0, len(image), size := max(1, elements // scores.shape[1])):
            part = slice(first, first + size)
            _add_pairs(negatives, own[part], (image[part], label[part]), share[part], total, gradient)
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        (gradient,) = ctx.saved_tensors
        return gradient * outer[0][:, None], None, None, None


def _add_pairs(
    negatives: Tensor, own: Tensor, positives: Positives, share: Tensor, total: Tensor, gradient: Tensor
) -> None:
    """Add the pairs of some positives to the loss and its gradient; what they take is free again afterwards."""
    image, _ = positives
    gap = negatives.index_select(0, image).sub_(own[:, None])
    total.index_add_(0, image, F.softplus(gap).sum(1) * share)
    pull = gap.sigmoid_().mul_(share[:, None])
    gradient.index_put_(positives, -pull.sum(1), accumulate=True)
    gradient.index_add_(0, image, pull)


def check_shapes(directions: Tensor, bank: Tensor, targets: Tensor) -> None:
    """Raise UsageError where images, labels or lengths of vectors differ, or a target is not -1, 0 or 1."""
    shapes = f"directions {tuple(directions.shape)}, bank {tuple(bank.shape)}, targets {tuple(targets.shape)}"
    if directions.dim() != 3 or bank.dim() != 2 or targets.dim() != 2:
        raise UsageError("semantic diversity", shapes, "give (N, M, d), (C, d) and (N, C)")
    if directions.shape[2] != bank.shape[1]:
        raise UsageError("semantic diversity", shapes, "directions and label vectors must have the same length")
    if targets.shape != (len(directions), len(bank)):
        raise UsageError("semantic diversity", shapes, "give a row an image and a column a label of the bank")
    if targets.device.type == "cpu":  # elsewhere a look waits for the device
        check_values(targets)
