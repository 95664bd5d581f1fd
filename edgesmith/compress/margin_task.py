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
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgesmith.compress.class_centres import NOTE, class_centres
from edgesmith.compress.distil import TeacherHead
from edgesmith.compress.margins import MarginLogits, MarginName, make_margin
from edgesmith.compress.partial_fc import PartialFC
from edgesmith.compress.sharded_softmax import batch_sizes
from edgesmith.compress.task import (
    Batch,
    Parts,
    Phase,
    Source,
    StepOutput,
    check_labels,
    cross_entropy,
    labels_of,
)
from edgesmith.compress.teacher_cache import Answer, TeacherCache, ask, open_cache
from edgesmith.compress.terms import distance
from edgesmith.errors import UsageError

HeadMode = Literal["own", "shared_frozen"]
TEACHER = "teacher."


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
    """The loss above on the student's embedding; a linear head of the student takes no part."""

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
        return (NOTE,) if self.sharing.centres else ()

    def prepare(self, source: Source) -> None:
        """Make what stems from the training samples: class centres and the teacher's cache."""
        if self.teacher is None:
            return
        if self.sharing.centres is not None:
            check_labels(source.labels, self.sharing.classes)
            found = int(source.labels.max()) + 1 if source.labels is not None and len(source.labels) else 0
            rows = class_centres(self.teacher, source.in_order(), self.sharing.classes or found)
            self.shared = self.sharing.centres(rows).to(rows.device)
        if self.sharing.cache and self.sharing.l2:
            self.cache = open_cache(self.teacher, self._ask, source)

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
        return {k: v for k, v in super().state_dict(*args, **kwargs).items() if not k.startswith(TEACHER)}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        known = self.teacher.state_dict() if self.teacher is not None else {}
        return super().load_state_dict({**state_dict, **{TEACHER + k: v for k, v in known.items()}}, strict, assign)

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
    a_th: float = 1.0,
    l2: float = 0.0,
    head: TeacherHead = "own",
    cache: bool = False,
    sample_rate: float = 1.0,
    deploy_head: bool = False,
    seed: int = 0,
) -> MarginTask:
    """Margin softmax on a net with embed(); it is deployed without a head, or with the centres as its head.

    head_mode "shared_frozen" takes the directions of another stage's linear head (head_from), else of the teacher's,
    and never moves them; a bias of that head is left out. A stage trained with deploy_head has such a head. head
    "centres" makes them from the teacher's mean embedding of each class instead. a_th below 1 leaves the rest to centres of the student's own. l2 weighs the
    distance to the teacher's embedding, which `cache` asks for only once.
    Raises: UsageError for parts or numbers that do not fit.
    """
    _check_options(head_mode, head, a_th, l2, parts.head is not None)
    shares = head_mode == "shared_frozen" and a_th > 0
    made = shares and head == "centres"
    rows = _shared(parts) if shares and not made else None
    size = _embedding_size(parts.student)
    _check_sizes(parts, size, rows, bool(l2), made)
    classes = parts.classes or (0 if rows is None else len(rows))
    needs_classes = deploy_head or not shares or a_th < 1
    if needs_classes and not classes:
        raise UsageError("margin softmax", "the number of classes is not known", "build the student with classes=...")

    def heads(frozen: Tensor | None) -> PartialFC:
        face = MarginLogits(make_margin(kind, m, margins, h, ema, exact_gradient), scale, filter_above)
        count = classes if frozen is None else len(frozen)
        return PartialFC(size, count, face, sample_rate, frozen, frozen is not None, seed=seed)

    own = heads(None) if not shares or a_th < 1 else None
    shared = None if rows is None else heads(rows)
    if made and deploy_head:
        shared = heads(torch.zeros(classes, size))  # room for what prepare() or a finished stage's weights bring
    sharing = Sharing(a_th if shares else 0.0, l2, heads if made else None, parts.classes, cache)
    return MarginTask(parts.student, own, deploy_head, shared, parts.teacher if made or l2 else None, sharing)


def _check_options(head_mode: str, head: str, a_th: float, l2: float, given: bool) -> None:
    for name, value, known in (("head_mode", head_mode, HeadMode), ("head", head, TeacherHead)):
        if value not in get_args(known):
            raise UsageError("margin softmax", f"{name} {value!r}", f"choose one of {get_args(known)}")
    if not (0 <= a_th <= 1 and l2 >= 0):
        raise UsageError("margin softmax", f"a_th {a_th}, l2 {l2}", "a_th lies in 0..1, l2 goes from 0 on")
    if given and (head_mode == "own" or head == "centres"):
        found = f"head_mode {head_mode}, head {head} do not use it"
        raise UsageError(
            "take the head of another stage", found, "say head_mode: shared_frozen, or leave head_from out"
        )


def _check_sizes(parts: Parts, size: int, rows: Tensor | None, distance: bool, made: bool) -> None:
    """Raise UsageError where the teacher is missing or its embedding is not of the student's size."""
    if (distance or made) and parts.teacher is None:
        raise UsageError("margin softmax with a teacher", "there is no teacher", "name a teacher")
    theirs = None if rows is None else rows.shape[1]
    if theirs is None and (distance or made):
        theirs = _embedding_size(parts.teacher, "teacher")  # type: ignore[arg-type]
    if theirs is not None and theirs != size:
        found = f"the student's embedding has {size} numbers, the teacher's {theirs}"
        raise UsageError("learn in a teacher's space", found, f"build the student with embedding={theirs}")


def _shared(parts: Parts) -> Tensor:
    """The class centres of another stage or else of the teacher, one a class."""
    head = parts.head if parts.head is not None else getattr(parts.teacher, "head", None)
    if not isinstance(head, nn.Linear):
        found = "there is no teacher" if parts.teacher is None else "the teacher has no linear head"
        todo = "name a teacher or head_from with a linear head (margin: deploy_head: true), or say head: centres"
        raise UsageError("share a frozen head", found, todo)
    if parts.classes and head.out_features != parts.classes:
        found = f"its head has {head.out_features}"
        raise UsageError(f"share a head of {parts.classes} classes", found, f"build it with classes={parts.classes}")
    return head.weight


def _embedding_size(net: nn.Module, role: str = "student") -> int:
    if not callable(getattr(net, "embed", None)):
        raise UsageError("margin softmax", f"the {role} has no embed()", "use a net with embed()")
    head = getattr(net, "head", None)
    size = head.in_features if isinstance(head, nn.Linear) else getattr(net, "embedding", None)
    if not isinstance(size, int):
        raise UsageError("margin softmax", f"the {role} does not tell its embedding's size", "give it `embedding`")
    return size
