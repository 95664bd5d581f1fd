"""The methods of distillation: weights and options checked, and a task made of them (distil_task.py)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from torch import nn

from edgesmith.compress.contrastive import Contrast
from edgesmith.compress.distil_task import Distil, Weights
from edgesmith.compress.judge import ONE_CLASS, Judge
from edgesmith.compress.shared_head import HeadMode, Start, bare_head, borrow_head, embedding_size, make_projector
from edgesmith.compress.tap import layer_at
from edgesmith.compress.task import Parts, check_classes
from edgesmith.errors import UsageError

TeacherHead = Literal["own", "centres"]
_ABSENT = object()


@dataclass(frozen=True)
class Options:
    """What the methods of the family have in common; see `distil` for their meaning."""

    projector: Start = "procrustes"
    head_mode: HeadMode = "shared_frozen"
    head: TeacherHead = "own"
    cache: bool = False
    ensemble: float = 0.0
    crd_dim: int = 128
    crd_negatives: int = 16384
    crd_temperature: float = 0.07
    crd_momentum: float = 0.5
    seed: int = 0
    layer: str = ""


def distil(
    parts: Parts,
    ce: float = 1.0,
    kd: float = 0.0,
    th: float = 0.0,
    l2: float = 0.0,
    cosine: float = 0.0,
    crd: float = 0.0,
    features: float = 0.0,
    temperature: float = 4.0,
    layer: str = "",
    projector: Start = "procrustes",
    head_mode: HeadMode = "shared_frozen",
    head: TeacherHead = "own",
    cache: bool = False,
    crd_dim: int = 128,
    crd_negatives: int = 16384,
    crd_temperature: float = 0.07,
    crd_momentum: float = 0.5,
    seed: int = 0,
) -> Distil:
    """Any sum of cross-entropy, logit distillation (kd), KL under the teacher's head (th), l2, cosine, CRD, features.

    features compares what `layer` gives in both nets, where they have one of the same name and shape.

    projector bridges embeddings of unequal size. head_mode is for a head taken from another stage. head "centres"
    makes the teacher's head from the mean embedding of each class. cache asks the teacher once for each sample.
    Raises: UsageError for parts or options that do not fit.
    """
    options = Options(
        projector, head_mode, head, cache, 0.0, crd_dim, crd_negatives, crd_temperature, crd_momentum, seed,
        layer if features else "",
    )  # fmt: skip
    weights = Weights(ce, kd, 0.0, th, l2, cosine, crd, temperature, features)
    return assemble(parts, weights, options)


def assemble(parts: Parts, weights: Weights, options: Options, judge: Judge = ONE_CLASS) -> Distil:
    """The task of these weights. Raises: UsageError for parts that do not fit them."""
    teacher, o = parts.teacher, options
    if teacher is None:
        raise UsageError("distillation", "there is no teacher", "name a teacher")
    if o.projector not in get_args(Start):
        raise UsageError("distillation", f"projector {o.projector!r}", f"choose one of {get_args(Start)}")
    if o.head not in get_args(TeacherHead):
        raise UsageError("distillation", f"head {o.head!r}", f"choose one of {get_args(TeacherHead)}")
    if o.head == "centres":
        _make_room_for_centres(teacher, parts.classes)
    classes = parts.classes or (_classes_of(teacher) if o.head == "own" else 0)
    for role, net in (("teacher", teacher), ("student", parts.student)):
        check_classes(role, net, classes)
    student = borrow_head(parts.student, parts.head, o.head_mode, o.projector, o.seed)
    borrowed = parts.head is not None and o.head_mode != "free"
    _check_heads(student, teacher, weights, borrowed)
    sizes = (0, 0)
    if weights.embeddings:
        sizes = (embedding_size(student, "student"), embedding_size(teacher, "teacher"))
    bridge = contrast = None
    if weights.aligned and sizes[0] != sizes[1]:
        bridge = make_projector(*sizes, o.projector, o.seed)
    if weights.crd:
        contrast = Contrast(sizes, o.crd_dim, o.crd_negatives, o.crd_temperature, o.crd_momentum, o.seed)
    if weights.features and not o.layer:
        raise UsageError("distil features", "no layer is named", "give layer, a path in both nets")
    if weights.features:
        layer_at(student, o.layer, "student")
        layer_at(teacher, o.layer, "teacher")
    align = o.projector == "procrustes"
    return Distil(
        student, teacher, weights, bridge, align, contrast, classes,
        borrowed, o.ensemble, o.head == "centres", o.cache, judge, o.layer,
    )  # fmt: skip


def _check_heads(student: nn.Module, teacher: nn.Module, weights: Weights, borrowed: bool) -> None:
    """Raise UsageError where a term needs a head that is not there."""
    theirs, own = getattr(teacher, "head", _ABSENT), getattr(student, "head", _ABSENT)
    if weights.shared and not callable(getattr(student, "embed", None)):
        raise UsageError("head sharing", "the student has no embed()", "use a net with embed() and a linear head")
    if weights.shared and not isinstance(theirs, nn.Linear):
        todo = "build it with classes=..., or say head: centres"
        raise UsageError("head sharing", "the teacher has no linear head", todo)
    if weights.kl and theirs is None:
        todo = "build it with classes=..., say head: centres, or leave kd out"
        raise UsageError("logit distillation", "the teacher has no linear head", todo)
    if weights.own and own is None:
        todo = "build it with classes=..., or leave ce and kd out"
        raise UsageError("distillation", "the student has no linear head", todo)
    if isinstance(own, nn.Linear) and not (weights.own or weights.shared or borrowed):
        todo = "give ce, kd or th a weight, take a head from another stage, or build the student without classes"
        raise UsageError("distillation", "nothing trains the student's head", todo)


def _classes_of(net: nn.Module) -> int:
    head = getattr(net, "head", None)
    return head.out_features if isinstance(head, nn.Linear) else 0


def _make_room_for_centres(teacher: nn.Module, classes: int) -> None:
    if getattr(teacher, "head", None) is not None:
        raise UsageError("head: centres", "the teacher has a head of its own", "leave it out, or drop that head")
    size = embedding_size(teacher, "teacher")
    teacher.head = bare_head(size, classes)
