"""The method "margin": options checked, and a task made of them (margin_task.py)."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from edgesmith.compress.distil import TeacherHead
from edgesmith.compress.margin_task import MarginTask, Sharing
from edgesmith.compress.margins import MarginLogits, MarginName, make_margin
from edgesmith.compress.partial_fc import PartialFC
from edgesmith.compress.task import Parts
from edgesmith.errors import UsageError

HeadMode = Literal["own", "shared_frozen"]


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
    "centres" makes them from the teacher's mean embedding of each class instead. a_th below 1 leaves the rest to
    centres of the student's own. l2 weighs the distance to the teacher's embedding, which `cache` asks for only once.
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
