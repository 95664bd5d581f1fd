"""What training on several labels an image needs beside a loss: the task, its checks, and what is shown of a batch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from edgesmith.compress.focal import check_values
from edgesmith.compress.shared_head import finished
from edgesmith.compress.task import Batch, Phase, Source, StepOutput, check_classes, labels_of, logits_of
from edgesmith.errors import UsageError


class MultiLabel(nn.Module):
    """A student and a loss of logits and targets, both (N, C); `before` sees the samples before the first step.

    What the loss has under `terms` is shown; "accuracy" is hit_at_1.
    """

    def __init__(
        self,
        student: nn.Module,
        loss: nn.Module,
        classes: int = 0,
        before: Callable[[Source], None] | None = None,
    ) -> None:
        super().__init__()
        self.student, self.loss, self.classes, self.before = student, loss, classes, before
        self.phases = (Phase("train", "train", self.student.parameters),)

    def prepare(self, source: Source) -> None:
        """Check all labels once, and let the loss learn what it has to. Raises: UsageError."""
        check_multilabels(source.labels, self.classes)
        if self.before is not None:
            self.before(source)

    def step(self, batch: Batch, phase: Phase) -> StepOutput:
        targets = labels_of(batch)
        logits = logits_of(self.student, batch)
        loss = self.loss(logits, targets)
        shown = {**getattr(self.loss, "terms", {}), "accuracy": hit_at_1(logits, targets)}
        return StepOutput(loss, shown, len(batch))

    def epoch_end(self, epoch: int) -> None:
        """Nothing changes between epochs."""

    def deployable(self) -> nn.Module:
        return finished(self.student)


def hit_at_1(logits: Tensor, targets: Tensor) -> Tensor:
    """Share of the images whose highest annotated logit is a positive label, among those with one; 0 without any."""
    known = logits.detach().float().masked_fill(targets == -1, -torch.inf)
    hit = targets.gather(1, known.argmax(1, keepdim=True)).squeeze(1) == 1
    some = (targets == 1).any(1)
    return (hit & some).float().sum() / some.sum().clamp_min(1)


def check_multilabels(labels: Tensor | None, classes: int) -> None:
    """Raise UsageError unless labels are (images, classes) of -1, 0 and 1; no labels and unknown classes pass."""
    if labels is None:
        return
    if labels.dim() != 2:
        found = f"labels of shape {tuple(labels.shape)}"
        raise UsageError("train on several labels an image", found, "give a row an image and a column a class")
    if classes and labels.shape[1] != classes:
        found = f"the labels have {labels.shape[1]} columns"
        raise UsageError(f"train {classes} classes", found, f"build the nets with classes={labels.shape[1]}")
    check_values(labels)


def check_outputs(student: nn.Module, classes: int) -> None:
    """Raise UsageError when the student has no logits for these classes."""
    check_classes("student", student, classes)
    if getattr(student, "head", student) is None:
        raise UsageError("a multi-label student", "it has no head", "build it with classes=...")
