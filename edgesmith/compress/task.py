"""What a training method is to the loop (fit.py), and the plainest one: cross-entropy."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgesmith.errors import UsageError


@dataclass(frozen=True)
class Batch:
    """Model inputs in the order of the model's arguments, and class numbers where there are any."""

    inputs: tuple[Tensor, ...]
    labels: Tensor | None

    def __len__(self) -> int:
        return len(self.inputs[0])


@dataclass(frozen=True)
class StepOutput:
    """The loss to minimise, its named parts (detached means; "accuracy" is shown as such), and the batch size."""

    loss: Tensor
    terms: Mapping[str, Tensor]
    size: int


@dataclass(frozen=True)
class Phase:
    """One optimizer's share of a step: which data it sees and which parameters it moves."""

    name: str
    data: str
    parameters: Callable[[], Iterable[nn.Parameter]]


class Task(Protocol):
    """A training method. Also an nn.Module, so that the loop can move it to a device and to train mode."""

    @property
    def phases(self) -> Sequence[Phase]: ...

    def step(self, batch: Batch, phase: Phase) -> StepOutput: ...

    def epoch_end(self, epoch: int) -> None: ...

    def deployable(self) -> nn.Module: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: Mapping[str, Any]) -> Any: ...


@dataclass(frozen=True)
class Parts:
    """What a method is made of; `classes` is the number of classes of the data."""

    student: nn.Module
    teacher: nn.Module | None
    classes: int


class Plain(nn.Module):
    """Cross-entropy on the labels."""

    def __init__(self, student: nn.Module, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.student, self.label_smoothing = student, label_smoothing
        self.phases = (Phase("train", "train", self.student.parameters),)

    def step(self, batch: Batch, phase: Phase) -> StepOutput:
        labels = labels_of(batch)
        logits = self.student(*batch.inputs)
        loss = cross_entropy(logits, labels, self.label_smoothing)
        return StepOutput(loss, {"ce": loss.detach(), "accuracy": accuracy(logits, labels)}, len(batch))

    def epoch_end(self, epoch: int) -> None:
        """Nothing changes between epochs."""

    def deployable(self) -> nn.Module:
        return copy.deepcopy(self.student).eval()


def plain(parts: Parts, label_smoothing: float = 0.0) -> Plain:
    """Train the student alone. Raises: UsageError when its head does not fit the classes."""
    check_classes("student", parts.student, parts.classes)
    return Plain(parts.student, label_smoothing)


def cross_entropy(logits: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy, in fp32 at least. Shape: logits (N, C), labels (N,)."""
    with torch.autocast(logits.device.type, enabled=False):
        return F.cross_entropy(at_least_fp32(logits), labels, label_smoothing=label_smoothing)


def at_least_fp32(values: Tensor) -> Tensor:
    """Half precision becomes fp32; fp32 and fp64 stay."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Share of a batch whose highest logit is the label's."""
    return (logits.detach().argmax(1) == labels).float().mean()


def labels_of(batch: Batch) -> Tensor:
    """The batch's labels. Raises: UsageError when the data have none."""
    if batch.labels is None:
        raise UsageError("train on labels", "the training data have none", "give labelled data")
    return batch.labels


def check_classes(role: str, net: nn.Module, classes: int) -> None:
    """Raise UsageError when a net's linear head has another number of classes than the data."""
    head = getattr(net, "head", None)
    if isinstance(head, nn.Linear) and head.out_features != classes:
        found = f"its head has {head.out_features}"
        raise UsageError(f"a {role} for {classes} classes", found, f"build it with classes={classes}")
