"""Distillation through the teacher's classifier (TH-KD), and plain distillation as its limit case.

Source: "It's All in the Head", arXiv 2201.06945, equations (0) to (4); Hinton et al. 2015 for the KL term.
differs from the authors' code: a_th weighs convexly as in the paper (their weights are free), equation (2)'s
cross-entropy through the teacher's head is there, the distance is a mean over the batch (theirs is a sum, so its
weight depended on the batch size), and unequal embedding sizes are bridged by a linear projector (theirs crash).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgesmith.compress.shared_head import EnsembleNet, HeadEnsemble, ProjectedNet, fold, orthogonal, procrustes
from edgesmith.compress.task import (
    Batch,
    Parts,
    Phase,
    StepOutput,
    accuracy,
    at_least_fp32,
    check_classes,
    cross_entropy,
    labels_of,
)
from edgesmith.errors import UsageError

Distance = Literal["l2", "cosine"]
Start = Literal["procrustes", "orthogonal"]
TEACHER = "teacher."


def kl(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 / N * sum KL(softmax(teacher / T) || softmax(student / T)), in fp32 at least. Shape: logits (N, C)."""
    with torch.autocast(student.device.type, enabled=False):
        log_p = F.log_softmax(at_least_fp32(student) / temperature, 1)
        log_q = F.log_softmax(at_least_fp32(teacher) / temperature, 1)
        return F.kl_div(log_p, log_q, reduction="batchmean", log_target=True) * temperature**2


def distance(student: Tensor, teacher: Tensor, kind: Distance) -> Tensor:
    """Mean over the batch of ||s/|s| - t/|t|||^2 ("l2") or 1 - cos(s, t) ("cosine"). Shape: embeddings (N, d)."""
    with torch.autocast(student.device.type, enabled=False):
        s, t = F.normalize(at_least_fp32(student), dim=1), F.normalize(at_least_fp32(teacher), dim=1)
        return (s - t).square().sum(1).mean() if kind == "l2" else (1 - (s * t).sum(1)).mean()


@dataclass(frozen=True)
class Mix:
    """How the terms are weighed; a_th is the share of the teacher's head, in 0..1. Raises: UsageError."""

    a_th: float
    alpha: float
    beta: float
    temperature: float
    distance: Distance

    def __post_init__(self) -> None:
        wrong = {
            f"a_th {self.a_th}": not 0 <= self.a_th <= 1,
            f"alpha {self.alpha}": not self.alpha >= 0,
            f"beta {self.beta}": not self.beta >= 0,
            f"temperature {self.temperature}": not self.temperature > 0,
            f"distance {self.distance!r}": self.distance not in get_args(Distance),
        }
        if found := ", ".join(text for text, bad in wrong.items() if bad):
            todo = f"a_th lies in 0..1, weights from 0 on, temperature above 0, distance is one of {get_args(Distance)}"
            raise UsageError("distillation", found, todo)

    @property
    def embeddings(self) -> bool:
        """Whether embeddings are looked at; without, any teacher that gives logits will do."""
        return self.a_th > 0 or self.beta > 0


class HeadSharing(nn.Module):
    """L = CE' + alpha KL' + beta D, where a prime mixes the student's own head with the frozen teacher's by a_th."""

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        mix: Mix,
        projector: nn.Linear | None = None,
        align: bool = False,
        ensemble: bool = False,
    ) -> None:
        super().__init__()
        self.student, self.teacher, self.projector = student, teacher, projector
        self.mix, self.ensemble = mix, ensemble
        # Saved, so that a resumed training does not align a projector that has already learned.
        self.register_buffer("to_align", torch.tensor(align and projector is not None))
        self.teacher.requires_grad_(False).eval()
        self.phases = (Phase("distil", "train", self._learning),)

    def step(self, batch: Batch, phase: Phase) -> StepOutput:
        labels = labels_of(batch)
        if not self.mix.embeddings:
            with torch.no_grad():
                theirs = self.teacher(*batch.inputs)
            return self._output(self.student(*batch.inputs), None, theirs, None, None, labels)
        with torch.no_grad():
            z_t = self.teacher.embed(*batch.inputs)  # type: ignore[operator]
            theirs = self.teacher.head(z_t)  # type: ignore[operator]
        z_s = self.student.embed(*batch.inputs)  # type: ignore[operator]
        own = self.student.head(z_s) if self.mix.a_th < 1 else None  # type: ignore[operator]
        projected = self._project(z_s, z_t)
        shared = self.teacher.head(projected) if self.mix.a_th else None  # type: ignore[operator]
        return self._output(own, shared, theirs, projected, z_t, labels)

    def epoch_end(self, epoch: int) -> None:
        """Nothing changes between epochs."""

    def deployable(self) -> nn.Module:
        """The student alone; with a_th = 1 the teacher's head, folded, is its head; with `ensemble` it has both.

        A student that never had a head stays without; its projector, if any, then goes with it.
        """
        student = copy.deepcopy(self.student).eval()
        if self.mix.embeddings and student.head is None:
            return student if self.projector is None else ProjectedNet(student, copy.deepcopy(self.projector)).eval()
        if self.mix.a_th == 1.0:
            student.head = self._shared_head()
        elif self.ensemble and self.mix.a_th:
            own: nn.Linear = student.head  # type: ignore[assignment]
            student.head = None  # type: ignore[assignment]
            return EnsembleNet(student, HeadEnsemble(own, self._shared_head(), self.mix.a_th)).eval()
        return student

    def train(self, mode: bool = True) -> HeadSharing:
        super().train(mode)
        self.teacher.eval()  # its batch-norm statistics are part of what is frozen
        return self

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """Everything a resumed training needs; the frozen teacher is not part of it."""
        return {k: v for k, v in super().state_dict(*args, **kwargs).items() if not k.startswith(TEACHER)}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        teacher = {TEACHER + key: value for key, value in self.teacher.state_dict().items()}
        return super().load_state_dict({**state_dict, **teacher}, strict, assign)

    def _learning(self) -> Iterator[nn.Parameter]:
        for name, parameter in self.student.named_parameters():
            if self.mix.a_th < 1 or not name.startswith("head."):  # at a_th = 1 the own head has no part in the loss
                yield parameter
        if self.projector is not None:
            yield from self.projector.parameters()

    def _shared_head(self) -> nn.Linear:
        return fold(self.teacher.head, self.projector).requires_grad_(True)  # type: ignore[arg-type]

    def _project(self, z_s: Tensor, z_t: Tensor) -> Tensor:
        if self.projector is None:
            return z_s
        if self.to_align:
            with torch.no_grad():
                self.projector.weight.copy_(procrustes(at_least_fp32(z_s), at_least_fp32(z_t)))
                self.to_align.fill_(False)  # type: ignore[operator]
        return self.projector(z_s)

    def _output(
        self,
        own: Tensor | None,
        shared: Tensor | None,
        theirs: Tensor,
        projected: Tensor | None,
        z_t: Tensor | None,
        labels: Tensor,
    ) -> StepOutput:
        terms: dict[str, Tensor] = {}
        weights: dict[str, float] = {}
        for name, logits, share in (("", own, 1 - self.mix.a_th), ("_th", shared, self.mix.a_th)):
            if logits is not None and share:
                terms[f"ce{name}"], weights[f"ce{name}"] = cross_entropy(logits, labels), share
                terms[f"kl{name}"] = kl(logits, theirs, self.mix.temperature)
                weights[f"kl{name}"] = share * self.mix.alpha
        if self.mix.beta and projected is not None and z_t is not None:
            terms["distance"], weights["distance"] = distance(projected, z_t, self.mix.distance), self.mix.beta
        loss = sum((weights[name] * term for name, term in terms.items()), torch.zeros((), device=theirs.device))
        answer = own if own is not None else shared
        shown = {name: term.detach() for name, term in terms.items()}
        if answer is not None:
            shown["accuracy"] = accuracy(answer, labels)
        return StepOutput(loss, shown, len(labels))


def kd(
    parts: Parts,
    alpha: float = 1.0,
    beta: float = 0.0,
    temperature: float = 4.0,
    distance: Distance = "l2",
    projector: Start = "procrustes",
    seed: int = 0,
) -> HeadSharing:
    """Plain distillation, equation (0): L = CE + alpha KL_T + beta D. Raises: UsageError for parts that do not fit."""
    return th_kd(parts, 0.0, alpha, beta, temperature, distance, projector, False, seed)


def th_kd(
    parts: Parts,
    a_th: float = 0.5,
    alpha: float = 1.0,
    beta: float = 0.0,
    temperature: float = 4.0,
    distance: Distance = "l2",
    projector: Start = "procrustes",
    ensemble: bool = False,
    seed: int = 0,
) -> HeadSharing:
    """Teacher-head distillation, equations (1) to (4); the teacher is frozen, its head judges the student too.

    Embeddings of unequal size get a linear projector on the student's side: it starts from the first batch's
    paired embeddings ("procrustes") or at random ("orthogonal"). Raises: UsageError for parts that do not fit.
    """
    mix = Mix(a_th, alpha, beta, temperature, distance)
    if projector not in get_args(Start):
        raise UsageError("distillation", f"projector {projector!r}", f"choose one of {get_args(Start)}")
    if parts.teacher is None:
        raise UsageError("distillation", "there is no teacher", "name a teacher")
    for role, net in (("teacher", parts.teacher), ("student", parts.student)):
        check_classes(role, net, parts.classes)
    sizes = _embedding_sizes(parts, a_th) if mix.embeddings else (0, 0)
    bridge = orthogonal(*sizes, seed) if sizes[0] != sizes[1] else None
    return HeadSharing(parts.student, parts.teacher, mix, bridge, projector == "procrustes", ensemble)


def _embedding_sizes(parts: Parts, a_th: float) -> tuple[int, int]:
    """(student's, teacher's); a student without a head must say its size as `embedding`."""
    for role, net in (("student", parts.student), ("teacher", parts.teacher)):
        if not callable(getattr(net, "embed", None)):
            raise UsageError("head sharing", f"the {role} has no embed()", "use a net with embed() and a linear head")
    theirs = getattr(parts.teacher, "head", None)
    own = getattr(parts.student, "head", None)
    if not isinstance(theirs, nn.Linear):
        raise UsageError("head sharing", "the teacher has no linear head", "build it with classes=...")
    if isinstance(own, nn.Linear):
        return own.in_features, theirs.in_features
    size = getattr(parts.student, "embedding", None)
    if a_th < 1 or not isinstance(size, int):
        raise UsageError("head sharing", "the student has no linear head", "build it with classes=...")
    return size, theirs.in_features
