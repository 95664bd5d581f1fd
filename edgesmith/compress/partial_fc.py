"""Partial FC: class centres spread over ranks, and only a sample of the negative classes in a step.

Source: An et al. 2022, arXiv 2203.15565. differs from the authors' code: one process needs no torch.distributed,
gradients of the centres can be sparse with any margin, a wrong label is an error on every rank, and a state is only
loaded where it belongs.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgesmith.compress.margins import MarginLogits
from edgesmith.compress.ranks import ranks
from edgesmith.compress.sharded_softmax import batch_sizes, gathered, sharded_cross_entropy
from edgesmith.errors import UsageError

SPREAD = 0.01  # standard deviation of new centres
KEPT = 2.0  # above every random number in 0..1


def shard(classes: int, rank: int, world: int) -> range:
    """The classes of one rank: neighbours, and no two ranks differ by more than one.

    Raises: UsageError when a rank would have none.
    """
    if classes < world or not 0 <= rank < world:
        raise UsageError(f"{classes} classes on {world} ranks", f"rank {rank} gets no class", "use fewer ranks")
    return range(rank * classes // world, (rank + 1) * classes // world)


class PartialFC(nn.Module):
    """This rank's centres, and the loss all ranks compute together: mean cross-entropy over the global batch.

    `centres`: this rank's rows of `shard(...)`, in place of new ones; `frozen`: they do not learn.
    `averaged`: the net's gradients will be averaged over the ranks (as DDP does), so those of the embeddings are
    multiplied by the number of ranks; the average is then the gradient of the loss.
    `sparse`: with sample_rate < 1 the centres' gradient holds the sampled rows alone; step it with `sgd_rows`.
    Keep it out of DDP, which would average the centres of different classes; `group` (and with it a time-out) is for
    whoever wants another than the default one. A state holds one rank's centres: save it on every rank.
    Raises: UsageError.
    """

    def __init__(
        self,
        embedding: int,
        classes: int,
        face: MarginLogits,
        sample_rate: float = 1.0,
        centres: Tensor | None = None,
        frozen: bool = False,
        averaged: bool = True,
        sparse: bool = False,
        group: Any = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not 0 < sample_rate <= 1:
            raise UsageError("partial FC", f"sample_rate {sample_rate}", "give a share above 0, up to 1")
        self.embedding, self.classes, self.face, self.among = embedding, classes, face, ranks(group)
        self.own = shard(classes, self.among.rank, self.among.world)
        self.sampled = max(1, int(sample_rate * len(self.own)))
        self.factor, self.sparse = float(self.among.world if averaged else 1), sparse
        rows = self._new(seed) if centres is None else self._checked(centres)
        self.unit = frozen and face.margin is not None
        if frozen:  # no parameter: no optimizer and no weight decay can reach it
            self.register_buffer("centres", F.normalize(rows, dim=1) if self.unit else rows)
        else:
            self.centres = nn.Parameter(rows)

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """The loss of the global batch, the same on every rank; ranks may have batches of different sizes.

        Shape: embeddings (N, d), labels (N,), both of this rank. Raises: UsageError naming rank and class on every
        rank; TrainingFailed when another rank does not take part, also in the backward pass.
        """
        sizes = batch_sizes(embeddings, labels, self.embedding, self.classes, self.among)
        with torch.autocast(embeddings.device.type, enabled=False):
            z = gathered(embeddings.to(self.centres.dtype), sizes, self.among, self.factor)
            everyones = self.among.gather_rows(labels.long(), sizes)
            here = (everyones >= self.own.start) & (everyones < self.own.stop)
            targets = torch.where(here, everyones - self.own.start, -1)
            centres: Tensor = self.centres
            if self.sampled < len(self.own):
                rows, targets = self.sample(targets)
                sparse = self.sparse and centres.requires_grad
                centres = F.embedding(rows, centres, sparse=sparse)
            logits = self.face(z, centres, targets, self.unit).logits
            return sharded_cross_entropy(logits, targets, self.among)

    @property
    def whole(self) -> bool:
        """Whether all classes are here and take part in each step."""
        return self.among.world == 1 and self.sampled == self.classes

    @torch.no_grad()
    def sample(self, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Sorted rows of this rank that take part, and the targets counted in them.

        All classes of the global batch that are here take part, also when they are more than the sample; random
        other ones fill up. Shape: targets (N of all,), -1 for elsewhere -> (rows,), (N of all,).
        """
        positive = targets[targets >= 0].unique()
        rows = positive
        if len(positive) < self.sampled:
            draw = torch.rand(len(self.own), device=targets.device)
            draw[positive] = KEPT
            rows = draw.topk(self.sampled, sorted=False).indices.sort().values
        moved = torch.searchsorted(rows, targets.clamp_min(0))
        return rows, torch.where(targets >= 0, moved, -1)

    @torch.no_grad()
    def all_centres(self) -> Tensor:
        """The centres of all ranks, on every rank. Shape: (C, d). Raises: TrainingFailed."""
        sizes = tuple(len(shard(self.classes, rank, self.among.world)) for rank in range(self.among.world))
        return self.among.gather_rows(self.centres.detach(), sizes)

    def get_extra_state(self) -> dict[str, int]:
        return {"classes": self.classes, "first": self.own.start, "rank": self.among.rank}

    def set_extra_state(self, state: dict[str, int]) -> None:
        """Refuse centres of other classes. Raises: UsageError."""
        if state != self.get_extra_state():
            asked = f"load the centres of rank {self.among.rank}, classes {self.own.start}.. of {self.classes}"
            raise UsageError(asked, f"a state of {state}", "load each rank's own state, with as many ranks as saved it")

    def _new(self, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed((seed << 20) + self.among.rank)
        return torch.randn(len(self.own), self.embedding, generator=generator).mul_(SPREAD)

    def _checked(self, centres: Tensor) -> Tensor:
        asked = (len(self.own), self.embedding)
        if tuple(centres.shape) != asked:
            found = f"rank {self.among.rank} was given {tuple(centres.shape)}"
            raise UsageError(f"centres {asked} for classes {self.own.start}..{self.own.stop - 1}", found, "use shard()")
        return centres.detach().clone()


@torch.no_grad()
def sgd_rows(weight: nn.Parameter, velocity: Tensor, lr: float, momentum: float = 0.9, decay: float = 0.0) -> None:
    """One SGD step on the rows a sparse gradient holds: the others neither move, nor decay, nor lose momentum.

    Shape: weight, velocity (C, d). Raises: UsageError when the gradient is not sparse.
    """
    if weight.grad is None or not weight.grad.is_sparse:
        raise UsageError("step sampled rows", "the gradient is not sparse", "build PartialFC with sparse=True")
    grad = weight.grad.coalesce()
    rows = grad.indices()[0]
    moved = velocity[rows].mul_(momentum).add_(grad.values()).add_(weight[rows], alpha=decay)
    velocity[rows] = moved
    weight.index_add_(0, rows, moved, alpha=-lr)
