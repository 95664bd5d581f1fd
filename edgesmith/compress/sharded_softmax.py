"""Softmax cross-entropy over classes that are spread over ranks: gathering of embeddings, and the loss.

Works on one process without torch.distributed being initialised. A rank that dies or hangs makes the others raise
within the time-out of the process group.
Source: Partial FC, An et al. 2022, arXiv 2203.15565.
differs from the authors' code: batches may differ in size between ranks, the target's logit (not its probability) is
summed, so that no probability has to be kept away from 0, and the loss is the mean over the global batch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from edgesmith.compress.ranks import Ranks
from edgesmith.errors import UsageError

NO_FAULT = -1


def batch_sizes(embeddings: Tensor, labels: Tensor, embedding: int, classes: int, among: Ranks) -> tuple[int, ...]:
    """How many samples each rank has. Every rank raises for a fault of any: nobody is left waiting.

    Raises: UsageError naming the rank and its class or shape.
    """
    outside = labels[(labels < 0) | (labels >= classes)]
    fits = embeddings.ndim == 2 and labels.shape == embeddings.shape[:1]
    size, width = (len(embeddings), embeddings.shape[1]) if fits else (NO_FAULT, NO_FAULT)
    found = [size, width, len(outside), int(outside[0]) if len(outside) else 0]
    told = among.gather(torch.tensor(found, device=embeddings.device))
    for rank, (size, width, wrong, label) in enumerate(row.tolist() for row in told):
        if size == NO_FAULT or width != embedding:
            text = f"rank {rank} has embeddings and labels of shapes that do not go together"
            text = text if size == NO_FAULT else f"rank {rank} has embeddings of size {width}"
            raise UsageError(f"embeddings (N, {embedding}) and labels (N,)", text, "build the head for the net's size")
        if wrong:
            text = f"rank {rank} has label {label} ({wrong} such in its batch)"
            raise UsageError(f"labels of {classes} classes", text, f"labels lie in 0..{classes - 1}")
    sizes = tuple(int(row[0]) for row in told)
    if not sum(sizes):
        raise UsageError("a training step", "no rank has a sample", "give each step a batch")
    return sizes


class _Gather(torch.autograd.Function):
    """All-gather of rows; backward sums over the ranks what each found for the rows, and takes its own."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, sizes: tuple[int, ...], among: Ranks, factor: float) -> Tensor:
        ctx.sizes, ctx.among, ctx.factor = sizes, among, factor
        return among.gather_rows(values, sizes)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:  # type: ignore[override]
        grad = grad.contiguous().clone()  # autograd may hold the tensor elsewhere; the sum is in place
        ctx.among.sum(grad)
        start = sum(ctx.sizes[: ctx.among.rank])
        return grad[start : start + ctx.sizes[ctx.among.rank]] * ctx.factor, None, None, None


def gathered(values: Tensor, sizes: tuple[int, ...], among: Ranks, factor: float = 1.0) -> Tensor:
    """All ranks' rows, with a gradient: that of the loss all ranks compute together, times `factor`.

    Shape: (N of this rank, d) -> (N of all, d). Raises: TrainingFailed, also in the backward pass.
    """
    return _Gather.apply(values, sizes, among, factor)  # type: ignore[no-untyped-call]


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor, among: Ranks) -> Tensor:
        peak = logits.amax(1)
        among.max(peak)
        powers = (logits - peak[:, None]).exp_()
        total = powers.sum(1)
        among.sum(total)
        rows = torch.arange(len(labels), device=labels.device)
        target = torch.where(labels >= 0, logits[rows, labels.clamp_min(0)] - peak, 0.0)
        among.sum(target)
        ctx.save_for_backward(powers.div_(total[:, None]), rows, labels)
        return (total.log() - target).mean()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        chances, rows, labels = ctx.saved_tensors
        step = grad / len(labels)
        table = chances * step
        table[rows, labels.clamp_min(0)] -= torch.where(labels >= 0, step, torch.zeros_like(step))
        return table, None, None


def sharded_cross_entropy(logits: Tensor, labels: Tensor, among: Ranks) -> Tensor:
    """Mean cross-entropy of the global batch, the same on every rank, from each rank's part of the classes.

    Label -1: the class is on another rank. Shape: logits (N of all, C of this rank), labels (N of all,).
    Raises: TrainingFailed.
    """
    return _CrossEntropy.apply(logits, labels, among)  # type: ignore[no-untyped-call]
