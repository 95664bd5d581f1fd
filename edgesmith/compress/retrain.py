"""Training of a found network from scratch: auxiliary head, and drop-path that grows.

Source: Liu et al. 2019 (DARTS), section 3.2; auxiliary head and scheduled drop-path: Zoph et al. 2018 (NASNet).
"""

from __future__ import annotations

import copy
from typing import Any

from torch import nn

from edgesmith.compress.task import (
    Batch,
    Parts,
    Phase,
    Source,
    StepOutput,
    accuracy,
    check_classes,
    check_labels,
    cross_entropy,
    labels_of,
)
from edgesmith.errors import UsageError
from edgesmith.models.asap_net import CellNet


class Retrain(nn.Module):
    """CE + weight * CE of the auxiliary head; drop-path grows from 0 to `drop_path` over so many epochs."""

    def __init__(
        self,
        student: CellNet,
        auxiliary: float,
        drop_path: float,
        drop_path_epochs: int,
        label_smoothing: float,
        classes: int,
    ) -> None:
        super().__init__()
        self.student, self.auxiliary, self.label_smoothing = student, auxiliary, label_smoothing
        self.drop_path, self.drop_path_epochs, self.classes = drop_path, drop_path_epochs, classes
        self.phases = (Phase("train", "train", self.student.parameters),)
        self._begin(0)

    def prepare(self, source: Source) -> None:
        """Check the labels. Raises: UsageError."""
        check_labels(source.labels, self.classes)

    def step(self, batch: Batch, phase: Phase) -> StepOutput:
        labels = labels_of(batch)
        if not self.auxiliary:
            logits = self.student(*batch.inputs)
            loss = cross_entropy(logits, labels, self.label_smoothing)
            return StepOutput(loss, {"ce": loss.detach(), "accuracy": accuracy(logits, labels)}, len(batch))
        logits, early = self.student.with_auxiliary(*batch.inputs)
        ce, aside = (cross_entropy(each, labels, self.label_smoothing) for each in (logits, early))
        terms = {"ce": ce.detach(), "auxiliary": aside.detach(), "accuracy": accuracy(logits, labels)}
        return StepOutput(ce + self.auxiliary * aside, terms, len(batch))

    def epoch_end(self, epoch: int) -> None:
        """The next epoch's drop-path."""
        self._begin(epoch + 1)

    def deployable(self) -> nn.Module:
        """The network without its auxiliary head."""
        net = copy.deepcopy(self.student)
        net.auxiliary = None
        net.set_drop_path(0.0)
        return net.eval()

    def get_extra_state(self) -> dict[str, Any]:
        return {"epoch": self.epoch}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self._begin(int(state["epoch"]))

    def _begin(self, epoch: int) -> None:
        self.epoch = epoch
        self.student.set_drop_path(self.drop_path * min(epoch / self.drop_path_epochs, 1.0))


def retrain(
    parts: Parts,
    drop_path_epochs: int,
    auxiliary: float = 0.4,
    drop_path: float = 0.3,
    label_smoothing: float = 0.0,
) -> Retrain:
    """Train a network of cells; say as drop_path_epochs how many epochs the stage has.

    The published recipe besides: 600 epochs, batch 96, lr 0.025, cosine to 0, weight decay 3e-4, clip 5, cutout 16.
    Raises: UsageError.
    """
    student = parts.student
    if not isinstance(student, CellNet):
        raise UsageError("retrain a found network", f"a {type(student).__name__}", "give a model asap_net")
    if (auxiliary > 0) != (student.auxiliary is not None):
        found = f"weight {auxiliary}, and the net has {'one' if student.auxiliary else 'none'}"
        raise UsageError("an auxiliary head", found, "build the net with auxiliary: true, or give the weight 0")
    if not 0 <= drop_path < 1 or drop_path_epochs < 1:
        found = f"drop_path {drop_path} over {drop_path_epochs} epochs"
        raise UsageError("retrain a found network", found, "give a share below 1, and 1 epoch or more")
    check_classes("student", student, parts.classes)
    return Retrain(student, auxiliary, drop_path, drop_path_epochs, label_smoothing, parts.classes)
