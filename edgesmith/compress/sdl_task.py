"""Train a semantic head, its net's own or a frozen teacher's, by the semantic diversity loss."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from edgesmith.compress.frozen import with_teacher, without_teacher
from edgesmith.compress.multilabel import check_multilabels, hit_at_1
from edgesmith.compress.sdl import SemanticDiversityLoss, Unknown, row_use
from edgesmith.compress.shared_head import Start, embedding_size, fold, make_projector, procrustes
from edgesmith.compress.task import Batch, Parts, Phase, Source, StepOutput, labels_of
from edgesmith.compress.terms import distance, kl
from edgesmith.errors import UsageError
from edgesmith.models.semantic_head import SemanticHead, SemanticNet, label_scores


class SemanticTask(nn.Module):
    """The diversity loss, and where there is a teacher: alpha KL of the ranked labels + beta distance of embeddings.

    The teacher's head is frozen and stands on the student's (projected) embedding; KL is that of softmax over the
    labels' scores at a temperature, so it looks at their order and gaps.
    """

    def __init__(
        self,
        net: SemanticNet,
        loss: SemanticDiversityLoss,
        teacher: SemanticNet | None = None,
        alpha: float = 0.0,
        beta: float = 0.0,
        temperature: float = 1.0,
        align: bool = False,
    ) -> None:
        super().__init__()
        self.net, self.loss, self.teacher = net, loss, teacher
        self.alpha, self.beta, self.temperature, self.align = alpha, beta, temperature, align
        if teacher is not None:
            teacher.requires_grad_(False).eval()
            net.head.requires_grad_(False)
        self.phases = (Phase("sdl", "train", self._learning),)

    def prepare(self, source: Source) -> None:
        """Check the labels, and turn a projector towards the teacher's embeddings. Raises: UsageError."""
        labels, bank = source.labels, self.net.head.bank
        if labels is not None and labels.dim() == 2 and labels.shape[1] != len(bank):
            found = f"a bank of {len(bank)} labels, and images with {labels.shape[1]}"
            raise UsageError(
                "train a semantic head", found, "give words of the data's classes, in their order (only: ...)"
            )
        check_multilabels(labels, len(bank))
        if self.align and self.net.projector is not None and self.teacher is not None:
            batch, was_training = source.spread(), self.training
            with torch.no_grad():
                student, teacher = self.net.eval().body.embed(*batch.inputs), self.teacher.embed(*batch.inputs)  # type: ignore[operator]
                self.net.projector.weight.copy_(procrustes(student.float(), teacher.float()))
            self.train(was_training)

    def step(self, batch: Batch, phase: Phase) -> StepOutput:
        targets, bank = labels_of(batch), self.net.head.bank
        z = self.net.embed(*batch.inputs)
        directions = self.net.head.directions(z)
        sdl, scores = self.loss.scored(directions, bank, targets)
        terms = {"sdl": sdl}
        if self.teacher is not None and (self.alpha or self.beta):
            terms |= self._taught(batch, z, scores)
        weights = {"sdl": 1.0, "kl": self.alpha, "l2": self.beta}
        loss = torch.stack([weights[name] * term for name, term in terms.items()]).sum()
        shown = {name: term.detach() for name, term in terms.items()}
        shown["row_use"] = row_use(directions, bank, targets)
        return StepOutput(loss, {**shown, "accuracy": hit_at_1(scores, targets)}, len(batch))

    def epoch_end(self, epoch: int) -> None:
        """Nothing changes between epochs."""

    def deployable(self) -> nn.Module:
        """The net with its head; a projector is folded into it."""
        made = copy.deepcopy(self.net).eval()
        if made.projector is not None:
            head = SemanticHead(made.projector.in_features, made.head.bank, made.head.rows)
            head.principal = fold(made.head.principal, made.projector)
            made = SemanticNet(made.body, head).eval()
        return made.requires_grad_(True)

    def train(self, mode: bool = True) -> SemanticTask:
        super().train(mode)
        if self.teacher is not None:
            self.teacher.eval()
        return self

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """Everything a resumed training needs; the frozen teacher is not part of it."""
        return without_teacher(super().state_dict(*args, **kwargs))

    def load_state_dict(self, state: Any, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        return super().load_state_dict(with_teacher(state, self.teacher), *args, **kwargs)

    def _learning(self) -> Iterator[nn.Parameter]:
        return (parameter for parameter in self.net.parameters() if parameter.requires_grad)

    def _taught(self, batch: Batch, z: Tensor, scores: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            theirs = self.teacher.embed(*batch.inputs)  # type: ignore[union-attr]
            wanted = label_scores(self.net.head.directions(theirs), self.net.head.bank)
        terms = {"kl": kl(scores, wanted, self.temperature)} if self.alpha else {}
        return terms | ({"l2": distance(z, theirs, "l2")} if self.beta else {})


def sdl(
    parts: Parts,
    spread_weight: float = 0.3,
    unknown: Unknown = "negative",
    alpha: float = 1.0,
    beta: float = 0.0,
    temperature: float = 1.0,
    projector: Start = "procrustes",
    seed: int = 0,
) -> SemanticTask:
    """Train a semantic net (model `semantic`) on the labels of its bank.

    With a teacher, another semantic net, any student with embed() learns under the teacher's frozen head: alpha weighs
    KL of the ranked labels, beta the l2 distance of embeddings, a projector bridges unequal sizes and is folded into
    what is deployed. Raises: UsageError for parts or numbers that do not fit.
    """
    if alpha < 0 or beta < 0 or not temperature > 0:
        found = f"alpha {alpha}, beta {beta}, temperature {temperature}"
        raise UsageError("semantic distillation", found, "weights go from 0 on, a temperature is above 0")
    loss = SemanticDiversityLoss(spread_weight, unknown)
    student, teacher = parts.student, parts.teacher
    if teacher is None:
        if not isinstance(student, SemanticNet):
            raise UsageError("semantic diversity", "the student has no semantic head", "build it by model: semantic")
        return SemanticTask(student, loss)
    if not isinstance(teacher, SemanticNet):
        raise UsageError("semantic distillation", "the teacher has no semantic head", "train it by method sdl")
    body = student.body if isinstance(student, SemanticNet) else student
    size = student.embedding if isinstance(student, SemanticNet) else embedding_size(student, "student")
    if isinstance(getattr(body, "head", None), nn.Linear):
        body.head = None  # type: ignore[assignment]  # it has no part in this, and must not be deployed
    wanted = teacher.head.in_features
    bridge = None if size == wanted else make_projector(size, wanted, projector, seed)
    net = SemanticNet(body, copy.deepcopy(teacher.head), bridge)
    return SemanticTask(net, loss, teacher, alpha, beta, temperature, projector == "procrustes")
