"""Asymmetric loss: focusing of its own for present and absent classes, and a margin below which an absent one is done.

Source: Ridnik et al. 2021, arXiv 2009.14119; the adaptive exponent is that of its early versions. Closed form and
numerics are in focal.py.
differs from the authors' code: fp32 whatever the logits are; the gradient switch of the focusing weights is local;
-1 marks what is not annotated and is left out.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgesmith.compress.focal import Focus, Reduction, focal_loss
from edgesmith.compress.multilabel import MultiLabel, check_outputs
from edgesmith.compress.ranks import ranks
from edgesmith.compress.shared_head import HeadMode, Start, align_projector, borrow_head
from edgesmith.compress.task import Parts, Plain, Source, at_least_fp32, check_classes
from edgesmith.errors import UsageError

HIGHEST_GAMMA = 10.0


class AsymmetricLoss(nn.Module):
    """Equation (8). gamma_pos = gamma_neg = clip = 0 is binary cross-entropy; equal gammas without clip, focal loss.

    Shape: logits (N, C), targets (N, C) of 1, 0 and -1 (left out). An image without any annotated label adds 0; one
    without a positive label is made of negatives. detach_weights takes the focusing weights as constant in the
    gradient. compiled fuses the pass (torch.compile; needs a C++ compiler on a CPU).
    """

    def __init__(
        self,
        gamma_neg: float = 4.0,
        gamma_pos: float = 1.0,
        clip: float = 0.05,
        detach_weights: bool = False,
        reduction: Reduction = "sum",
        adaptive: AdaptiveAsymmetry | None = None,
        compiled: bool = False,
    ) -> None:
        super().__init__()
        self.focus = Focus(gamma_pos, gamma_neg, None, clip, detach_weights)
        self.reduction, self.compiled, self.adaptive = reduction, compiled, adaptive

    @property
    def terms(self) -> dict[str, Tensor]:
        """What is worth showing beside the loss."""
        return {} if self.adaptive is None else {"gamma_neg": self.adaptive.gamma_neg.clone()}

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        focus = self.focus
        if self.adaptive is not None:
            focus = Focus(focus.pos, self.adaptive.gamma_neg.clone(), None, focus.clip, focus.detach)
        loss = focal_loss(logits, targets, focus, reduction=self.reduction, compiled=self.compiled)
        if self.adaptive is not None and self.training:
            self.adaptive.update(logits, targets)
        return loss


class AdaptiveAsymmetry(nn.Module):
    """gamma_neg that follows the gap of mean confidences, D = mean p of positives - mean (1 - p) of negatives:

        gamma_neg <- clip(gamma_neg + rate * (target - D) * share of an epoch, 0, 10)

    While positives are less sure than negatives (D below its target) gamma_neg rises, so that easy negatives weigh
    less; this is the sign that settles, as a higher gamma_neg raises D. A step moves by its share of `samples` images,
    so `rate` is per epoch whatever the batch. A batch without positives or without negatives changes nothing.
    """

    gamma_neg: Tensor

    def __init__(self, start: float = 0.0, target: float = 0.1, rate: float = 1.0, samples: int = 0) -> None:
        super().__init__()
        if not (0 <= start <= HIGHEST_GAMMA and -1 <= target <= 1 and rate > 0):
            found = f"start {start}, target {target}, rate {rate}"
            raise UsageError("adaptive asymmetry", found, "start in 0..10, target in -1..1, rate above 0")
        self.target, self.rate, self.samples = target, rate, samples
        self.register_buffer("gamma_neg", torch.tensor(float(start)))

    @torch.no_grad()
    def update(self, logits: Tensor, targets: Tensor) -> None:
        """Move by one batch."""
        p = at_least_fp32(logits).sigmoid()
        present, absent = (targets == 1).to(p.dtype), (targets == 0).to(p.dtype)
        sums = torch.stack([(p * present).sum(), present.sum(), ((1 - p) * absent).sum(), absent.sum()])
        ranks().sum(sums)  # all processes move alike
        sure, there, sure_not, not_there = sums
        gap = sure / there.clamp_min(1) - sure_not / not_there.clamp_min(1)
        images = len(logits) * ranks().world
        step = self.rate * (self.target - gap) * (images / max(self.samples, images))
        self.gamma_neg.add_(torch.where((there > 0) & (not_there > 0), step, 0.0)).clamp_(0, HIGHEST_GAMMA)


class AsymmetricLossSingleLabel(nn.Module):
    """Asymmetric loss for one class an image: log-softmax, weights (1 - p_y)^g+ and p_k^g-, then label smoothing.

    Without smoothing gamma_neg has no part. Shape: logits (N, C), labels (N,) -> the mean, or the sum over images.
    """

    def __init__(
        self, gamma_pos: float = 0.0, gamma_neg: float = 4.0, smoothing: float = 0.1, reduction: Reduction = "mean"
    ) -> None:
        super().__init__()
        Focus(gamma_pos, gamma_neg)
        if not 0 <= smoothing < 1:
            raise UsageError("asymmetric loss", f"smoothing {smoothing}", "give a number from 0 to below 1")
        self.gamma_pos, self.gamma_neg, self.smoothing, self.reduction = gamma_pos, gamma_neg, smoothing, reduction

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        if logits.dim() != 2 or labels.shape != logits.shape[:1]:
            found = f"logits {tuple(logits.shape)}, labels {tuple(labels.shape)}"
            raise UsageError("a loss for one class an image", found, "give (N, C) and (N,)")
        with torch.autocast(logits.device.type, enabled=False):
            log_p = F.log_softmax(at_least_fp32(logits), 1)
            p, own = log_p.exp(), F.one_hot(labels, logits.shape[1]).to(log_p.dtype)
            weight = own * (1 - p) ** self.gamma_pos + (1 - own) * p**self.gamma_neg
            wanted = own * (1 - self.smoothing) + self.smoothing / logits.shape[1]
            loss = -(wanted * weight * log_p).sum()
        return loss / max(len(logits), 1) if self.reduction == "mean" else loss


def asl(
    parts: Parts,
    gamma_neg: float = 4.0,
    gamma_pos: float = 0.0,
    clip: float = 0.05,
    detach_weights: bool = False,
    reduction: Reduction = "mean",
    adaptive_gap: float | None = None,
    adaptive_rate: float = 1.0,
    compiled: bool = False,
    head_mode: HeadMode = "shared_frozen",
    projector: Start = "procrustes",
    seed: int = 0,
) -> MultiLabel:
    """Train on multi-label data by the asymmetric loss; what is not annotated is left out.

    "mean" is over images and classes, so that the learning rate fits any of them; the paper's figures are for "sum"
    with Adam, which hardly sees the difference. adaptive_gap makes gamma_neg follow that gap (AdaptiveAsymmetry).
    head_mode, projector and seed are for a head taken from another stage, as in `plain` (SH-KD).
    Raises: UsageError for numbers that do not fit.
    """
    adaptive = None if adaptive_gap is None else AdaptiveAsymmetry(gamma_neg, adaptive_gap, adaptive_rate)
    loss = AsymmetricLoss(gamma_neg, gamma_pos, clip, detach_weights, reduction, adaptive, compiled)

    def before(source: Source) -> None:
        if adaptive is not None:
            adaptive.samples = source.count
        align_projector(student, source.spread)

    check_classes("student", parts.student, parts.classes)
    student = borrow_head(parts.student, parts.head, head_mode, projector, seed)
    check_outputs(student, parts.classes)
    return MultiLabel(student, loss, parts.classes, before)


def asl_single(parts: Parts, gamma_pos: float = 0.0, gamma_neg: float = 4.0, label_smoothing: float = 0.1) -> Plain:
    """Train the student alone by the asymmetric loss for one class an image.

    Raises: UsageError for numbers, or a net without logits, that do not fit.
    """
    check_outputs(parts.student, parts.classes)
    loss = AsymmetricLossSingleLabel(gamma_pos, gamma_neg, label_smoothing)
    return Plain(parts.student, classes=parts.classes, loss=loss, term="asl")
