"""Scores of labels by their best direction, as the semantic head gives them, with a gradient that pays to train with.

The maximum over M directions sends a label's gradient to one of them, so of the N * M * C products of the way forward
only N * C have a way back. autograd multiplies by all of them, nearly all zero.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


def best_match(directions: Tensor, bank: Tensor) -> Tensor:
    """label_scores of the semantic head, and its gradient; directions that tie share it evenly.

    Shape: (N, M, d), (C, d) -> (N, C).
    """
    scores: Tensor = _BestMatch.apply(directions, bank)
    return scores


class _BestMatch(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, directions: Tensor, bank: Tensor) -> Tensor:
        products = directions @ bank.transpose(0, 1)
        scores = products.amax(1)
        ctx.save_for_backward(directions, bank, products == scores[:, None])
        return scores

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, Tensor | None]:  # type: ignore[override]
        directions, bank, best = ctx.saved_tensors
        to_directions = to_bank = None
        if ctx.needs_input_grad[0]:
            way = _weighted_labels if best.device.type == "cpu" and best.shape[1] > 2 else _product
            to_directions = way(outer[0], best, bank).view_as(directions)
        if ctx.needs_input_grad[1]:
            to_bank = _spread_out(outer[0], best).T @ directions.flatten(0, 1)
        return to_directions, to_bank


def _product(gradient: Tensor, best: Tensor, bank: Tensor) -> Tensor:
    """Shape: (N, C), (N, M, C), (C, d) -> (N * M, d)."""
    return _spread_out(gradient, best) @ bank


def _spread_out(gradient: Tensor, best: Tensor) -> Tensor:
    """The gradient of all the products. Shape: (N, C), (N, M, C) -> (N * M, C)."""
    return (best * (gradient / best.sum(1, dtype=gradient.dtype))[:, None]).flatten(0, 1)


def _weighted_labels(gradient: Tensor, best: Tensor, bank: Tensor) -> Tensor:
    """_product without what is multiplied by zero: a row sums the vectors of the labels that it is best for."""
    images, rows, labels = best.shape
    place = torch.from_numpy(np.flatnonzero(best.numpy()))  # torch's nonzero takes five times as long
    if len(place) > images * labels:  # some directions tie
        gradient = gradient / best.sum(1)
    row = torch.arange(images * rows)
    starts = torch.searchsorted(place, torch.arange(images * rows + 1) * labels)
    count = starts.diff()
    label = place - (row * labels).repeat_interleave(count)
    weights = gradient.flatten().index_select(0, label + (row // rows * labels).repeat_interleave(count))
    return F.embedding_bag(label, bank, starts, mode="sum", per_sample_weights=weights, include_last_offset=True)
