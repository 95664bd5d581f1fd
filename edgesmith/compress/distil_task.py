"""Distillation from a frozen teacher as a weighted sum of terms; every method of the family is a choice of weights.

Terms: ce and kl judge the student's own head; ce_th and kl_th the student's embedding under the teacher's head; l2
and cosine compare embeddings; crd contrasts them; features compares the outputs of a layer inside both nets.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from edgesmith.compress.class_centres import NOTE, class_centres
from edgesmith.compress.contrastive import Contrast
from edgesmith.compress.frozen import with_teacher, without_teacher
from edgesmith.compress.judge import ONE_CLASS, Judge
from edgesmith.compress.ranks import ranks
from edgesmith.compress.shared_head import (
    EnsembleNet,
    HeadEnsemble,
    ProjectedNet,
    align_projector,
    bare_head,
    finished,
    fold,
    procrustes,
)
from edgesmith.compress.tap import tapped
from edgesmith.compress.task import (
    Batch,
    Phase,
    Source,
    StepOutput,
    at_least_fp32,
    empty_classes,
    labels_of,
    logits_of,
    without_samples,
)
from edgesmith.compress.teacher_cache import Answer, TeacherCache, ask, open_cache
from edgesmith.compress.terms import distance, feature_distance
from edgesmith.errors import UsageError


@dataclass(frozen=True)
class Weights:
    """How the terms are weighed; a term of weight 0 is not computed. Raises: UsageError."""

    ce: float = 1.0
    kl: float = 0.0
    ce_th: float = 0.0
    kl_th: float = 0.0
    l2: float = 0.0
    cosine: float = 0.0
    crd: float = 0.0
    temperature: float = 4.0
    features: float = 0.0

    def __post_init__(self) -> None:
        terms = {name: value for name, value in asdict(self).items() if name != "temperature"}
        wrong = [f"{name} {value}" for name, value in terms.items() if not value >= 0]
        if not self.temperature > 0:
            wrong.append(f"temperature {self.temperature}")
        if not wrong and not any(terms.values()):
            wrong.append("every weight is 0")
        if wrong:
            raise UsageError("distillation", ", ".join(wrong), "weights from 0 on (one above), temperature above 0")

    @property
    def own(self) -> bool:
        """Whether the student's own head is trained or judged."""
        return bool(self.ce or self.kl)

    @property
    def shared(self) -> bool:
        """Whether the teacher's head judges the student."""
        return bool(self.ce_th or self.kl_th)

    @property
    def aligned(self) -> bool:
        """Whether the student's embedding must have the teacher's size."""
        return bool(self.shared or self.l2 or self.cosine)

    @property
    def embeddings(self) -> bool:
        """Whether embeddings are looked at; without, any teacher that gives logits will do."""
        return bool(self.aligned or self.crd)


class Distil(nn.Module):
    """A student learning from a frozen teacher by the weighted terms.

    kept_head: the student's head is another stage's and needs no training. ensemble: share of the teacher's head in
    what is deployed. centres: the teacher's head is to be made from class centres. cache: ask the teacher only once.
    judge: what the ce and kl terms are; for one class an image they are cross-entropy and KL of softmax.
    tap: the path of the layer that `features` compares.
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        weights: Weights,
        projector: nn.Linear | None = None,
        align: bool = False,
        contrast: Contrast | None = None,
        classes: int = 0,
        kept_head: bool = False,
        ensemble: float = 0.0,
        centres: bool = False,
        cache: bool = False,
        judge: Judge = ONE_CLASS,
        tap: str = "",
    ) -> None:
        super().__init__()
        self.student, self.teacher, self.projector, self.contrast = student, teacher, projector, contrast
        self.weights, self.classes, self.kept_head, self.ensemble = weights, classes, kept_head, ensemble
        self.centres, self.caching, self.judge = centres, cache, judge
        self.tap = tap if weights.features else ""
        self.cache: TeacherCache | None = None
        self.missing: tuple[str, ...] = ()
        # Saved, so that a resumed training does not align a projector that has already learned.
        self.register_buffer("to_align", torch.tensor(align and projector is not None))
        self.teacher.requires_grad_(False).eval()
        self.phases = (Phase("distil", "train", self._learning),)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the record of this training must say."""
        return ((NOTE,) if self.centres else ()) + self.missing

    def prepare(self, source: Source) -> None:
        """Make what stems from the training samples: class centres, the teacher's cache, the memory bank."""
        self.judge.check(source.labels, self.classes)
        if empty := empty_classes(source.labels, self.classes):
            self.missing = (without_samples(empty, self.classes),)
        if self.centres:
            classes = self.classes or (int(source.labels.max()) + 1 if source.labels is not None else 0)
            weight = class_centres(self.teacher, source.in_order(), classes)
            self.teacher.head = bare_head(weight.shape[1], classes).to(weight.device)
            self.teacher.head.weight.data.copy_(weight)
        if self.caching:
            self.cache = open_cache(self.teacher, self._ask, source, self.tap)
        if self.contrast is not None:
            self.contrast.fill(source.labels, source.device)
        align_projector(self.student, source.spread)

    def step(self, batch: Batch, phase: Phase) -> StepOutput:
        w = self.weights
        labels = labels_of(batch) if w.ce or w.ce_th else batch.labels
        z_t, theirs, maps = self.cache.answer(batch) if self.cache is not None else self._asked(batch)
        with tapped(self.student, self.tap) as features:
            z_s, own = self._answered(batch)
        projected = self._project(z_s, z_t) if w.aligned else None
        shared = self.teacher.head(projected) if w.shared else None  # type: ignore[operator]
        terms: dict[str, Tensor] = {}
        for name, logits in (("", own), ("_th", shared)):
            terms |= {} if logits is None else self._judged(name, logits, theirs, labels)
        for kind in ("l2", "cosine"):
            if getattr(w, kind):
                terms[kind] = distance(projected, z_t, kind)  # type: ignore[arg-type]
        if self.contrast is not None:
            terms["crd"] = self.contrast(z_s, z_t, batch.rows)
        if w.features:
            if maps is None or not features:
                raise UsageError(f"compare layer {self.tap}", "it did not run", "name a layer that both nets use")
            terms["features"] = feature_distance(features[0], maps)
        loss = torch.stack([getattr(w, name) * term for name, term in terms.items()]).sum()
        shown = {name: term.detach() for name, term in terms.items()}
        answer = own if own is not None else shared
        if answer is not None and labels is not None:
            shown["accuracy"] = self.judge.accuracy(answer, labels)
        return StepOutput(loss, shown, len(batch))

    def epoch_end(self, epoch: int) -> None:
        """Nothing changes between epochs."""

    def deployable(self) -> nn.Module:
        """The student alone; where only the teacher's head was trained through, that head, folded, is the student's.

        A student that never had a head stays without; its projector, if any, then goes with it.
        """
        student = finished(self.student)
        if not self.weights.own and self.student.head is None:
            return student if self.projector is None else ProjectedNet(student, copy.deepcopy(self.projector)).eval()
        if not (self.weights.own or self.kept_head):
            student.head = self._shared_head()
        elif self.ensemble and self.weights.shared:
            own: nn.Linear = student.head  # type: ignore[assignment]
            student.head = student.folded = None  # type: ignore[assignment]
            mixed = HeadEnsemble(own, self._shared_head(), self.ensemble, self.judge.several)
            return EnsembleNet(student, mixed).eval()
        return student

    def train(self, mode: bool = True) -> Distil:
        super().train(mode)
        self.teacher.eval()  # its batch-norm statistics are part of what is frozen
        return self

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """Everything a resumed training needs; the frozen teacher is not part of it."""
        return without_teacher(super().state_dict(*args, **kwargs))

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        return super().load_state_dict(with_teacher(state_dict, self.teacher), strict, assign)

    def _learning(self) -> Iterator[nn.Parameter]:
        for name, parameter in self.student.named_parameters():
            if self.weights.own or not name.startswith("head."):  # a head that has no part in the loss stays as it is
                yield parameter
        for module in (self.projector, self.contrast):
            if module is not None:
                yield from module.parameters()

    def _shared_head(self) -> nn.Linear:
        return fold(self.teacher.head, self.projector).requires_grad_(True)  # type: ignore[arg-type]

    def _asked(self, batch: Batch) -> Answer:
        with torch.no_grad():
            return self._ask(batch)

    def _ask(self, batch: Batch) -> Answer:
        return ask(self.teacher, batch, self.tap)

    def _answered(self, batch: Batch) -> tuple[Tensor | None, Tensor | None]:
        """The student's embedding and logits, as far as the weights ask for them."""
        if not self.weights.embeddings:
            return None, logits_of(self.student, batch)
        z = self.student.embed(*batch.inputs)  # type: ignore[operator]
        return z, self.student.head(z) if self.weights.own else None  # type: ignore[operator]

    def _project(self, z_s: Tensor | None, z_t: Tensor | None) -> Tensor | None:
        if self.projector is None or z_s is None or z_t is None:
            return z_s
        if self.to_align:
            with torch.no_grad():  # by the batch of all processes, so that all start from one projector
                everyones = [torch.cat(ranks().gather(at_least_fp32(z.detach()))) for z in (z_s, z_t)]
                self.projector.weight.copy_(procrustes(*everyones))
                self.to_align.fill_(False)  # type: ignore[operator]
        return self.projector(z_s)

    def _judged(self, name: str, logits: Tensor, theirs: Tensor | None, labels: Tensor | None) -> dict[str, Tensor]:
        terms = {}
        if getattr(self.weights, f"ce{name}") and labels is not None:
            terms[f"ce{name}"] = self.judge.labels(logits, labels)
        if getattr(self.weights, f"kl{name}") and theirs is not None:
            if theirs.shape != logits.shape:
                found = f"the teacher gives {tuple(theirs.shape)}, the student {tuple(logits.shape)}"
                raise UsageError("distil logits", found, "build both with the classes of the data")
            terms[f"kl{name}"] = self.judge.teacher(logits, theirs, self.weights.temperature)
        return terms
