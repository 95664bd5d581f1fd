"""What a training method is to the loop (fit.py), and the plainest one: cross-entropy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgesmith.compress.ema import Average
from edgesmith.compress.optimizer import OptimizerChoice
from edgesmith.compress.shared_head import HeadMode, Start, align_projector, borrow_head, finished
from edgesmith.errors import UsageError


@dataclass(frozen=True)
class Batch:
    """Model inputs in the order of the model's arguments, and class numbers where there are any.

    rows (N,): which samples of the split these are. mirrored (N,): which of them were flipped.
    """

    inputs: tuple[Tensor, ...]
    labels: Tensor | None
    rows: Tensor | None = None
    mirrored: Tensor | None = None

    def __len__(self) -> int:
        return len(self.inputs[0])


@dataclass(frozen=True)
class StepOutput:
    """The loss to minimise, its named parts (detached means; "accuracy" is shown as such), and the batch size."""

    loss: Tensor
    terms: Mapping[str, Tensor]
    size: int


PhaseData = Literal["train", "first_half", "second_half"]


@dataclass(frozen=True)
class Phase:
    """One optimizer's share of a step: which data it sees and which parameters it moves.

    data: "train" is the whole training split; phases on it share each batch. "first_half" and "second_half" are two
    disjoint random halves of it, the same in every epoch; a phase on one sees the batches of that half.
    optimizer: its own optimizer and schedule; None: those of FitConfig.
    """

    name: str
    data: PhaseData
    parameters: Callable[[], Iterable[nn.Parameter]]
    optimizer: OptimizerChoice | None = None


class Task(Protocol):
    """A training method. Also an nn.Module, so that the loop can move it to a device and to train mode.

    Epochs are counted from 0 here. epoch_end may delete modules or make new ones; the loop then asks the phases for
    their parameters again, keeps the optimizer state of those that stayed and drops the rest. load_state_dict must
    first bring the task to the structure that the state was saved with: the loop asks the phases after it, too.
    What else a task may have: Prepared, Scheduled, Finishing, Averaged; `notes` for the record of the training; and
    `per_rank`, the names of submodules that every process has for itself (engine.py).
    """

    @property
    def phases(self) -> Sequence[Phase]: ...

    def step(self, batch: Batch, phase: Phase) -> StepOutput: ...

    def epoch_end(self, epoch: int) -> None: ...

    def deployable(self) -> nn.Module: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: Mapping[str, Any]) -> Any: ...


@dataclass(frozen=True)
class Parts:
    """What a method is made of: `classes` of the data (0: not known), `head` is another stage's classifier.

    prior: another stage's net that knows how often each class is there.
    """

    student: nn.Module
    teacher: nn.Module | None
    classes: int
    head: nn.Linear | None = None
    prior: nn.Module | None = None


@dataclass(frozen=True)
class Source:
    """What a task may look at once before its first step.

    digest fingerprints the samples and their preparation; `folder` outlives the stage, for what is worth keeping.
    `read(rows, mirrored)` gives samples as the model sees them without augmentation, on the device.
    """

    count: int
    labels: Tensor | None
    augment: str
    digest: str
    folder: Path
    device: torch.device
    read: Callable[[Tensor, bool], Batch]

    def in_order(self, mirrored: bool = False, size: int = 256) -> Iterator[Batch]:
        """All samples, batch by batch."""
        for rows in torch.arange(self.count).split(size):
            yield self.read(rows, mirrored)

    def spread(self, most: int = 512) -> Batch:
        """At most so many samples, from all over the split (files are often sorted by class)."""
        return self.read(torch.linspace(0, self.count - 1, min(most, self.count)).round().long(), False)


class Prepared(Protocol):
    """A task that wants to see the training samples before its first step."""

    def prepare(self, source: Source) -> None: ...


class Scheduled(Protocol):
    """A task whose phases do not all take part in every epoch."""

    def active(self, epoch: int) -> Iterable[str]:
        """The names of the phases that step in this epoch."""
        ...


class Finishing(Protocol):
    """A task that may be done before the last epoch: `finished` is looked at after each epoch_end."""

    finished: bool


class Averaged(Protocol):
    """A task that looks at the moving average of its own weights (FitConfig.ema): `with average.applied(): ...`."""

    def use_average(self, average: Average) -> None: ...


class Plain(nn.Module):
    """A loss on the labels, shown as `term`: cross-entropy if none is given. Known `classes` are held against them."""

    def __init__(
        self,
        student: nn.Module,
        label_smoothing: float = 0.0,
        classes: int = 0,
        loss: Callable[[Tensor, Tensor], Tensor] | None = None,
        term: str = "ce",
    ) -> None:
        super().__init__()
        self.student, self.classes, self.term = student, classes, term
        self.loss = loss or partial(cross_entropy, label_smoothing=label_smoothing)
        self.notes: tuple[str, ...] = ()
        self.phases = (Phase("train", "train", self.student.parameters),)

    def prepare(self, source: Source) -> None:
        """Check the labels, and align a borrowed head's projector. Raises: UsageError."""
        classes = self.classes or classes_of(self.student, source)
        check_labels(source.labels, classes)
        if empty := empty_classes(source.labels, classes):
            self.notes = (without_samples(empty, classes),)
        align_projector(self.student, source.spread)

    def step(self, batch: Batch, phase: Phase) -> StepOutput:
        labels = labels_of(batch)
        logits = logits_of(self.student, batch)
        loss = self.loss(logits, labels)
        return StepOutput(loss, {self.term: loss.detach(), "accuracy": accuracy(logits, labels)}, len(batch))

    def epoch_end(self, epoch: int) -> None:
        """Nothing changes between epochs."""

    def deployable(self) -> nn.Module:
        return finished(self.student)


def plain(
    parts: Parts,
    label_smoothing: float = 0.0,
    head_mode: HeadMode = "shared_frozen",
    projector: Start = "procrustes",
    seed: int = 0,
) -> Plain:
    """Train the student alone; with another stage's head in `parts` it learns under that head (SH-KD's stage I1).

    Raises: UsageError when a head does not fit the classes or the net.
    """
    check_classes("student", parts.student, parts.classes)
    return Plain(borrow_head(parts.student, parts.head, head_mode, projector, seed), label_smoothing, parts.classes)


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


def logits_of(net: nn.Module, batch: Batch) -> Tensor:
    """A net's one answer to a batch. Raises: UsageError for a net with several, such as an album net."""
    logits = net(*batch.inputs)
    if not isinstance(logits, Tensor):
        found = "the net answers with more than logits"
        raise UsageError("train by the loss of logits alone", found, "use another net, or method peta for albums")
    return logits


@torch.no_grad()
def classes_of(net: nn.Module, source: Source) -> int:
    """How many classes a net tells apart, by its answer to one sample; 0 where that is no row of logits."""
    training = net.training
    logits = net.eval()(*source.spread(1).inputs)
    net.train(training)
    return logits.shape[1] if isinstance(logits, Tensor) and logits.dim() == 2 else 0


def check_labels(labels: Tensor | None, classes: int) -> None:
    """Raise UsageError for several labels a sample, or a class number outside the classes; what is not known passes."""
    if labels is not None and labels.dim() != 1:
        found = f"labels of shape {tuple(labels.shape)}"
        todo = "use data with one class a sample, or a method for several (asl, csl, kd_multilabel, sdl)"
        raise UsageError("train on one class a sample", found, todo)
    if labels is None or not classes or not len(labels):
        return
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        found = f"the training labels go from {low} to {high}"
        todo = f"build the nets with classes={high + 1}, or fix the labels"
        raise UsageError(f"train {classes} classes", found, todo)


def empty_classes(labels: Tensor | None, classes: int) -> list[int]:
    """The class numbers that no label has; none where labels or classes are not known, or a sample has several."""
    if labels is None or not classes or labels.dim() != 1:
        return []
    return (labels.bincount(minlength=classes)[:classes] == 0).nonzero().flatten().tolist()


def without_samples(empty: Sequence[int], classes: int) -> str:
    """In words: which classes have no training sample."""
    named = ", ".join(str(number) for number in empty[:10]) + (", ..." if len(empty) > 10 else "")
    return f"{len(empty)} of {classes} classes have no training sample: {named}"


def check_classes(role: str, net: nn.Module, classes: int) -> None:
    """Raise UsageError when a net's linear head has another number of classes than the data, if that is known."""
    head = getattr(net, "head", None)
    if classes and isinstance(head, nn.Linear) and head.out_features != classes:
        found = f"its head has {head.out_features}"
        raise UsageError(f"a {role} for {classes} classes", found, f"build it with classes={classes}")
