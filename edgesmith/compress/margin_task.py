"""Train an embedding by margin softmax, with class centres of its own or the frozen ones of another net.

Frozen centres are what head sharing does with a margin: nets that learn against the same centres give embeddings of
one space. Source: "It's All in the Head", arXiv 2201.06945, for the shared head; margins.py and partial_fc.py.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgesmith.compress.margins import MarginLogits, MarginName, make_margin
from edgesmith.compress.partial_fc import PartialFC
from edgesmith.compress.sharded_softmax import batch_sizes
from edgesmith.compress.task import (
    Batch,
    Parts,
    Phase,
    Source,
    StepOutput,
    check_classes,
    check_labels,
    cross_entropy,
    empty_classes,
    labels_of,
    without_samples,
)
from edgesmith.errors import UsageError

HeadMode = Literal["own", "shared_frozen"]


class MarginTask(nn.Module):
    """Cross-entropy of the margin softmax on the student's embedding; a linear head of the student takes no part.

    Among several processes each holds the centres of its own classes.
    """

    per_rank = ("centres",)

    def __init__(self, student: nn.Module, centres: PartialFC, deploy_head: bool = False) -> None:
        super().__init__()
        self.notes: tuple[str, ...] = ()
        self.student, self.centres, self.deploy_head = student, centres, deploy_head
        self.phases = (Phase("margin", "train", self._learning),)

    def prepare(self, source: Source) -> None:
        """Look at the labels. Raises: UsageError for one outside the classes, or when a class has no sample.

        Centres that do not move may be of classes that are not there: a note then says so.
        """
        check_labels(source.labels, self.centres.classes)
        if empty := empty_classes(source.labels, self.centres.classes):
            if isinstance(self.centres.centres, nn.Parameter):
                todo = "number the classes without gaps, and build the student with their number"
                raise UsageError("learn a centre for every class", without_samples(empty, self.centres.classes), todo)
            self.notes = (without_samples(empty, self.centres.classes),)

    def step(self, batch: Batch, phase: Phase) -> StepOutput:
        labels = labels_of(batch)
        z = self.student.embed(*batch.inputs)  # type: ignore[operator]
        if not self.centres.whole:
            loss = self.centres(z, labels)
            return StepOutput(loss, {"ce": loss.detach()}, len(batch))
        batch_sizes(z, labels, self.centres.embedding, self.centres.classes, self.centres.among)
        judged = self.centres.face(z, self.centres.centres, labels, self.centres.unit)
        loss = cross_entropy(judged.logits, labels)
        best_other = judged.logits.detach().scatter(1, labels[:, None], -torch.inf).amax(1)
        hits = (judged.target > best_other).float().mean()  # without the margin, as the net is used
        return StepOutput(loss, {"ce": loss.detach(), "accuracy": hits}, len(batch))

    def epoch_end(self, epoch: int) -> None:
        """Nothing changes between epochs."""

    def deployable(self) -> nn.Module:
        """The net that gives the embedding; with `deploy_head` the centres, of length 1, are its linear head."""
        student = copy.deepcopy(self.student).eval()
        student.head = self._head() if self.deploy_head else None  # type: ignore[assignment]
        return student

    def _head(self) -> nn.Linear:
        rows = self.centres.all_centres()
        head = nn.Linear(self.centres.embedding, self.centres.classes, bias=False, device=rows.device)
        with torch.no_grad():
            head.weight.copy_(rows if self.centres.face.margin is None else F.normalize(rows, dim=1))
        return head

    def _learning(self) -> Iterator[nn.Parameter]:
        for name, parameter in self.student.named_parameters():
            if not name.startswith("head."):
                yield parameter
        yield from self.centres.parameters()


def margin(
    parts: Parts,
    kind: MarginName = "arcface",
    m: float | None = None,
    margins: tuple[float, float, float] | None = None,
    scale: float = 64.0,
    h: float = 0.333,
    ema: float = 0.01,
    filter_above: float | None = None,
    exact_gradient: bool = True,
    head_mode: HeadMode = "own",
    sample_rate: float = 1.0,
    deploy_head: bool = False,
    seed: int = 0,
) -> MarginTask:
    """Margin softmax on a net with embed(); it is deployed without a head, or with the centres as its head.

    head_mode "shared_frozen" takes the directions of the teacher's linear head (any net that has one, e.g. a stage
    trained with deploy_head) and never moves them; a bias of that head is left out.
    Raises: UsageError for parts or numbers that do not fit.
    """
    if head_mode not in get_args(HeadMode):
        raise UsageError("margin softmax", f"head_mode {head_mode!r}", f"choose one of {get_args(HeadMode)}")
    shared = _shared(parts) if head_mode == "shared_frozen" else None
    classes = parts.classes or (0 if shared is None else len(shared))
    if not classes:
        raise UsageError("margin softmax", "the number of classes is not known", "build the student with classes=...")
    size = _embedding_size(parts.student)
    if shared is not None and shared.shape[1] != size:
        found = f"the student's embedding has {size} numbers, the teacher's centres {shared.shape[1]}"
        raise UsageError("share a frozen head", found, f"build the student with embedding={shared.shape[1]}")
    face = MarginLogits(make_margin(kind, m, margins, h, ema, exact_gradient), scale, filter_above)
    centres = PartialFC(size, classes, face, sample_rate, shared, shared is not None, seed=seed)
    return MarginTask(parts.student, centres, deploy_head)


def _shared(parts: Parts) -> Tensor:
    """The teacher's class centres, one a class."""
    head = getattr(parts.teacher, "head", None)
    if parts.teacher is None or not isinstance(head, nn.Linear):
        found = "there is no teacher" if parts.teacher is None else "the teacher has no linear head"
        raise UsageError("share a frozen head", found, "name a teacher with a linear head (margin: deploy_head: true)")
    if parts.classes:
        check_classes("teacher", parts.teacher, parts.classes)
    return head.weight


def _embedding_size(student: nn.Module) -> int:
    if not callable(getattr(student, "embed", None)):
        raise UsageError("margin softmax", "the student has no embed()", "use a net with embed()")
    head = getattr(student, "head", None)
    size = head.in_features if isinstance(head, nn.Linear) else getattr(student, "embedding", None)
    if not isinstance(size, int):
        raise UsageError("margin softmax", "the student does not tell its embedding's size", "give it `embedding`")
    return size
