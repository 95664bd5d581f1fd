"""PETA: an album net learns the events of albums, from their labels and, if there is one, from a frozen album teacher.

Source: Glaser et al. 2021, arXiv 2109.12499. The authors published no training; sampling and loss are those of their
released code, distillation is ours. differs from the authors' code: a short album is padded and masked (`repeat` shows
its photos again, as theirs does); labels of one class an album are learnt by cross-entropy unless `loss` says "asl".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgesmith.compress.asl import AsymmetricLoss
from edgesmith.compress.frozen import with_teacher, without_teacher
from edgesmith.compress.judge import Judge, several_classes
from edgesmith.compress.shared_head import finished, make_projector
from edgesmith.compress.task import (
    Batch,
    Parts,
    Phase,
    Source,
    StepOutput,
    accuracy,
    at_least_fp32,
    check_classes,
    check_labels,
    cross_entropy,
    labels_of,
)
from edgesmith.compress.terms import distance, kl
from edgesmith.data.album_rows import Sampling, chosen
from edgesmith.errors import UsageError

Loss = Literal["auto", "asl"]
SMALLEST = 1e-6  # an importance whose logarithm is taken


class Peta(nn.Module):
    """Sample photos of each album, and minimise the labels' loss plus the weighted terms against the teacher.

    Terms: event (asymmetric loss or cross-entropy), kd (logits), embedding (of the album, l2 of unit vectors),
    importance (KL of the photos' shares).
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module | None,
        weights: Mapping[str, float],
        judges: tuple[Judge, Judge],
        projector: nn.Linear | None = None,
        classes: int = 0,
        one_hot: bool = False,
        sampling: Sampling = "rand_permute",
        repeat: bool = False,
        mirror: bool = False,
        temperature: float = 2.0,
    ) -> None:
        super().__init__()
        self.student, self.teacher, self.projector = student, teacher, projector
        self.weights, self.one, self.several, self.temperature = dict(weights), *judges, temperature
        self.classes, self.one_hot, self.places = classes, one_hot, int(student.photos)  # type: ignore[arg-type]
        self.sampling: Sampling = sampling
        self.repeat, self.mirror = repeat, mirror
        if teacher is not None:
            teacher.requires_grad_(False).eval()
        self.phases = (Phase("peta", "train", self._learning),)

    def prepare(self, source: Source) -> None:
        """Check all labels once. Raises: UsageError."""
        if source.labels is None:
            raise UsageError("train on albums", "the training data have no labels", "give albums with events")
        judge = self.one if source.labels.dim() == 1 else self.several
        judge.check(source.labels, self.classes)

    def step(self, batch: Batch, phase: Phase) -> StepOutput:
        photos, mask = self._sampled(*batch.inputs)
        labels = labels_of(batch)
        if self.one_hot and labels.dim() == 1:
            labels = F.one_hot(labels, self.classes)
        judge = self.one if labels.dim() == 1 else self.several
        z, logits, importance = self.student.answer(photos, mask)  # type: ignore[operator]
        terms = {"event": judge.labels(logits, labels)}
        if self.teacher is not None:
            with torch.no_grad():
                theirs = self.teacher.answer(photos, mask)  # type: ignore[operator]
            terms |= self._taught(judge, (z, logits, importance), theirs)
        loss = torch.stack([self.weights[name] * term for name, term in terms.items()]).sum()
        shown = {name: term.detach() for name, term in terms.items()} | {"accuracy": judge.accuracy(logits, labels)}
        return StepOutput(loss, shown, len(batch))

    def _taught(self, judge: Judge, own: Any, theirs: Any) -> dict[str, Tensor]:
        """The terms against the teacher whose weight is not 0; `own` and `theirs` are what album nets answer."""
        terms, z = {}, own[0] if self.projector is None else self.projector(own[0])
        if self.weights["kd"]:
            terms["kd"] = judge.teacher(own[1], theirs[1], self.temperature)
        if self.weights["embedding"]:
            terms["embedding"] = distance(z, theirs[0], "l2")
        if self.weights["importance"]:
            terms["importance"] = importance_kl(own[2], theirs[2])
        return terms

    def _sampled(self, photos: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """As many photos of each album as the student takes, chosen anew, and the mask of the places left empty."""
        rng = np.random.default_rng(int(torch.randint(2**62, (1,))))
        index = torch.zeros((len(photos), self.places), dtype=torch.int64)
        kept = torch.zeros((len(photos), self.places), dtype=mask.dtype)
        for row, there in enumerate(mask.cpu()):
            photo = np.flatnonzero(there.numpy())
            rows = photo[chosen(len(photo), self.places, self.sampling, rng, self.repeat)]
            index[row, : len(rows)], kept[row, : len(rows)] = torch.from_numpy(rows), 1
        taken = photos[torch.arange(len(photos))[:, None], index.to(photos.device)]
        if self.mirror:
            flipped = torch.rand((len(photos), self.places), device=photos.device) < 0.5
            taken = torch.where(flipped[:, :, None, None, None], taken.flip(3), taken)
        return taken, kept.to(mask.device)

    def epoch_end(self, epoch: int) -> None:
        """Nothing changes between epochs."""

    def deployable(self) -> nn.Module:
        return finished(self.student)

    def train(self, mode: bool = True) -> Peta:
        super().train(mode)
        if self.teacher is not None:
            self.teacher.eval()  # its batch-norm statistics are part of what is frozen
        return self

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """Everything a resumed training needs; the frozen teacher is not part of it."""
        return without_teacher(super().state_dict(*args, **kwargs))

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        return super().load_state_dict(with_teacher(state_dict, self.teacher), strict, assign)

    def _learning(self) -> Iterator[nn.Parameter]:
        yield from self.student.parameters()
        if self.projector is not None:
            yield from self.projector.parameters()


def importance_kl(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean over albums of KL(teacher's shares || student's shares); a share is an importance over the album's sum.

    What CLS pays to itself is left out, as nets of unequal depth differ in it. Albums without photos add 0.
    Shape: importance (N, S), 0 where there is no photo.
    """
    with torch.autocast(student.device.type, enabled=False):
        s, t = (at_least_fp32(values) for values in (student, teacher))
        p, q = (values / values.sum(1, keepdim=True).clamp(min=SMALLEST) for values in (t, s))
        there = p > 0
        ratio = (p.clamp(min=SMALLEST) / q.clamp(min=SMALLEST)).log()
        return torch.where(there, p * ratio, 0.0).sum(1).mean()


def peta(
    parts: Parts,
    loss: Loss = "auto",
    event: float = 1.0,
    kd: float = 0.0,
    embedding: float = 0.0,
    importance: float = 0.0,
    temperature: float = 2.0,
    label_smoothing: float = 0.0,
    gamma_neg: float = 4.0,
    gamma_pos: float = 0.05,
    clip: float = 0.05,
    sampling: Sampling = "rand_permute",
    repeat: bool = False,
    mirror: bool = False,
    seed: int = 0,
) -> Peta:
    """Train an album net on albums; with a teacher, kd, embedding and importance weigh what is learnt from it.

    loss "auto" is the asymmetric loss for several events an album and cross-entropy for one; "asl" the first for both.
    `sampling` chooses the student's number of photos from each album at every step; `repeat` fills short albums with
    their own photos in the place of a mask; `mirror` flips half of the photos. Raises: UsageError.
    """
    weights = {"event": event, "kd": kd, "embedding": embedding, "importance": importance}
    _check(parts, loss, weights, temperature, sampling)
    check_classes("student", parts.student, parts.classes)
    several = several_classes(AsymmetricLoss(gamma_neg, gamma_pos, clip, reduction="mean"))
    one = Judge(lambda logits, labels: cross_entropy(logits, labels, label_smoothing), kl, accuracy, check_labels)
    projector = None
    if embedding and parts.teacher is not None:
        own, theirs = _size(parts.student), _size(parts.teacher)
        projector = make_projector(own, theirs, "orthogonal", seed) if own != theirs else None
    return Peta(
        parts.student, parts.teacher, weights, (one, several), projector, parts.classes, loss == "asl", sampling,
        repeat, mirror, temperature,
    )  # fmt: skip


def _check(parts: Parts, loss: str, weights: Mapping[str, float], temperature: float, sampling: str) -> None:
    wrong = [f"{name} {value}" for name, value in weights.items() if not value >= 0]
    wrong += [] if temperature > 0 else [f"temperature {temperature}"]
    wrong += [] if loss in get_args(Loss) else [f"loss {loss!r}"]
    wrong += [] if sampling in get_args(Sampling) else [f"sampling {sampling!r}"]
    if wrong or not any(weights.values()):
        todo = f"weights from 0 on (one above), loss {get_args(Loss)}, sampling {get_args(Sampling)}"
        raise UsageError("peta", ", ".join(wrong) or "every weight is 0", todo)
    taught = [name for name, value in weights.items() if value and name != "event"]
    if taught and parts.teacher is None:
        raise UsageError("peta", f"{taught} without a teacher", "name a teacher, or leave them out")
    for role, net in (("student", parts.student), ("teacher", parts.teacher)):
        if net is not None and not callable(getattr(net, "answer", None)):
            raise UsageError("peta", f"the {role} is no album net", "use model: {use: album, ...}")
    if getattr(parts.student, "head", None) is None:
        raise UsageError("peta", "the student has no head", "build it with classes=...")
    _check_teacher(parts.student, parts.teacher, bool(weights["kd"]))


def _check_teacher(student: nn.Module, teacher: nn.Module | None, logits: bool) -> None:
    head = getattr(teacher, "head", None)
    if logits and (head is None or head.out_features != student.head.out_features):  # type: ignore[union-attr]
        raise UsageError("peta: kd", "the teacher gives no logits of these classes", "build it with the same classes")
    fixed = getattr(getattr(teacher, "pooling", None), "positions", None) is not None
    if fixed and teacher.photos != student.photos:  # type: ignore[union-attr]
        found = f"a teacher with positions for {teacher.photos} photos, a student of {student.photos}"  # type: ignore[union-attr]
        raise UsageError("peta", found, "give both the same number, or build the teacher without positions")


def _size(net: nn.Module) -> int:
    """Length of an album net's embedding, by asking it about one black photo."""
    photos = torch.zeros(1, getattr(net, "photos", 1), *net.frames.size, 3, dtype=torch.uint8)  # type: ignore[union-attr, misc]
    with torch.no_grad():
        return int(net.eval().embed(photos, torch.ones(photos.shape[:2])).shape[1])  # type: ignore[operator]
