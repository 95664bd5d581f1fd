"""Train an embedding by margin softmax: class centres of its own, the frozen ones of a teacher, or both.

With a teacher this is head sharing for face nets, whose heads are dropped in use:

    L = (1 - a_th) M(W_own; z_s) + a_th M(W_frozen; z_s) + l2 mean ||z_s/|z_s| - z_t/|z_t|||^2

M is the cross-entropy of the margin softmax; W_frozen are the teacher's class centres (TH-KD), or those of a first
student that both it and the teacher were trained under (SH-KD). Source: "It's All in the Head", arXiv 2201.06945,
equations (2) and (3); its face losses were never published, a margin in their place is our reading. margins.py and
partial_fc.py have the rest.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgesmith.compress.class_centres import NOTE, class_centres
from edgesmith.compress.frozen import with_teacher, without_teacher
from edgesmith.compress.partial_fc import PartialFC
from edgesmith.compress.sharded_softmax import batch_sizes
from edgesmith.compress.task import (
    Batch,
    Phase,
    Source,
    StepOutput,
    check_labels,
    cross_entropy,
    empty_classes,
    labels_of,
    without_samples,
)
from edgesmith.compress.teacher_cache import Answer, TeacherCache, ask, open_cache
from edgesmith.compress.terms import distance
from edgesmith.errors import UsageError


@dataclass(frozen=True)
class Sharing:
    """What comes from the teacher: share of its frozen centres in the loss, weight of the distance to its embedding.

    centres: makes the frozen head of the teacher's class centres, once the samples are known; classes 0: not known.
    cache: ask the teacher only once.
    """

    a_th: float = 0.0
    l2: float = 0.0
    centres: Callable[[Tensor], PartialFC] | None = None
    classes: int = 0
    cache: bool = False


class MarginTask(nn.Module):
    """The loss above on the student's embedding; a linear head of the student takes no part.

    Among several processes each holds the centres of its own classes.
    """

    per_rank = ("own", "shared")

    def __init__(
        self,
        student: nn.Module,
        own: PartialFC | None,
        deploy_head: bool = False,
        shared: PartialFC | None = None,
        teacher: nn.Module | None = None,
        sharing: Sharing = Sharing(),
    ) -> None:
        super().__init__()
        self.student, self.own, self.shared, self.teacher = student, own, shared, teacher
        self.deploy_head, self.sharing = deploy_head, sharing
        self.cache: TeacherCache | None = None
        self.missing: tuple[str, ...] = ()
        if teacher is not None:
            teacher.requires_grad_(False).eval()
        self.phases = (Phase("margin", "train", self._learning),)

    @property
    def centres(self) -> PartialFC:
        """The student's own centres, or the frozen ones where they are all there is. Raises: UsageError."""
        found = self.own or self.shared
        if found is None:
            raise UsageError("margin softmax on class centres", "the samples were not seen yet", "train by fit()")
        return found

    @property
    def notes(self) -> tuple[str, ...]:
        """What the record of this training must say."""
        return (*((NOTE,) if self.sharing.centres else ()), *self.missing)

    def prepare(self, source: Source) -> None:
        """Look at the labels, and make what stems from the samples: class centres and the teacher's cache.

        Raises: UsageError for a label outside the classes, or when a class that learns a centre has no sample. Centres
        that do not move may be of classes that are not there: a note then says so.
        """
        self._look_at(source.labels)
        if self.teacher is None:
            return
        if self.sharing.centres is not None:
            found = int(source.labels.max()) + 1 if source.labels is not None and len(source.labels) else 0
            rows = class_centres(self.teacher, source.in_order(), self.sharing.classes or found)
            self.shared = self.sharing.centres(rows).to(rows.device)
        if self.sharing.cache and self.sharing.l2:
            self.cache = open_cache(self.teacher, self._ask, source)

    def _look_at(self, labels: Tensor | None) -> None:
        known = self.own or self.shared
        classes = self.sharing.classes if known is None else known.classes
        check_labels(labels, classes)
        if empty := empty_classes(labels, classes):
            if self.own is not None:
                todo = "number the classes without gaps, and build the student with their number"
                raise UsageError("learn a centre for every class", without_samples(empty, classes), todo)
            self.missing = (without_samples(empty, classes),)

    def step(self, batch: Batch, phase: Phase) -> StepOutput:
        labels, a_th, centres = labels_of(batch), self.sharing.a_th, self.centres
        z = self.student.embed(*batch.inputs)  # type: ignore[operator]
        losses, shown = [], dict[str, Tensor]()
        for name, share, head in (("ce", 1 - a_th, self.own), ("ce_th", a_th, self.shared)):
            if head is not None:
                loss, hits = _judged(head, z, labels)
                losses.append(share * loss)
                shown[name] = loss.detach()
                if hits is not None and head is centres:
                    shown["accuracy"] = hits
        if self.sharing.l2:
            theirs = self.cache.answer(batch).embedding if self.cache is not None else self._asked(batch)
            losses.append(self.sharing.l2 * distance(z, theirs, "l2"))  # type: ignore[arg-type]
            shown["l2"] = losses[-1].detach() / self.sharing.l2
        return StepOutput(torch.stack(losses).sum(), shown, len(batch))

    def epoch_end(self, epoch: int) -> None:
        """Nothing changes between epochs."""

    def deployable(self) -> nn.Module:
        """The net that gives the embedding; with `deploy_head` the centres, of length 1, are its linear head."""
        student = copy.deepcopy(self.student).eval()
        student.head = self._head() if self.deploy_head else None  # type: ignore[assignment]
        return student

    def train(self, mode: bool = True) -> MarginTask:
        super().train(mode)
        if self.teacher is not None:
            self.teacher.eval()  # its batch-norm statistics are part of what is frozen
        return self

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """Everything a resumed training needs; the frozen teacher is not part of it."""
        return without_teacher(super().state_dict(*args, **kwargs))

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        return super().load_state_dict(with_teacher(state_dict, self.teacher), strict, assign)

    def _ask(self, batch: Batch) -> Answer:
        return ask(self.teacher, batch)  # type: ignore[arg-type]

    def _asked(self, batch: Batch) -> Tensor | None:
        with torch.no_grad():
            return self._ask(batch).embedding

    def _head(self) -> nn.Linear:
        centres = self.centres
        rows = centres.all_centres()
        head = nn.Linear(centres.embedding, centres.classes, bias=False, device=rows.device)
        with torch.no_grad():
            head.weight.copy_(rows if centres.face.margin is None else F.normalize(rows, dim=1))
        return head

    def _learning(self) -> Iterator[nn.Parameter]:
        for name, parameter in self.student.named_parameters():
            if not name.startswith("head."):
                yield parameter
        if self.own is not None:
            yield from self.own.parameters()


def _judged(head: PartialFC, z: Tensor, labels: Tensor) -> tuple[Tensor, Tensor | None]:
    """Loss, and the share of hits without the margin, as the net is used (where all classes are at hand)."""
    if not head.whole:
        return head(z, labels), None
    batch_sizes(z, labels, head.embedding, head.classes, head.among)
    judged = head.face(z, head.centres, labels, head.unit)
    best_other = judged.logits.detach().scatter(1, labels[:, None], -torch.inf).amax(1)
    return cross_entropy(judged.logits, labels), (judged.target > best_other).float().mean()
