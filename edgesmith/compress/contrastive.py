"""Contrastive representation distillation (CRD) with a memory bank.

Source: Tian et al. 2020, arXiv 1910.10699, equations (10), (17) and (18).
differs from the authors' code: negatives are drawn with replacement on the batch's own device, and there are never more
of them than training samples.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgesmith.compress.ranks import ranks
from edgesmith.compress.task import at_least_fp32
from edgesmith.errors import UsageError

EPSILON = 1e-7
# Up to this many times the drawn samples, scoring the whole bank is cheaper than copying the drawn rows.
WHOLE_BANK = 4


def contrastive_loss(scores: Tensor, count: int) -> Tensor:
    """-[log(s+ / (s+ + K/n)) + sum_k log((K/n) / (s_k + K/n))], mean over the anchors.

    Shape: scores (N, 1 + K), each anchor's positive first; `count` is n, the number of training samples.
    """
    share = (scores.shape[1] - 1) / count
    positive, negative = scores[:, 0], scores[:, 1:]
    attracted = (positive / (positive + share + EPSILON)).log()
    repelled = (share / (negative + share + EPSILON)).log().sum(1)
    return -(attracted + repelled).mean()


class Contrast(nn.Module):
    """Draws a student's and a teacher's embedding of one sample together and away from samples of other classes."""

    bank_s: Tensor
    bank_t: Tensor
    norms: Tensor
    order: Tensor
    first: Tensor
    alike: Tensor

    def __init__(
        self, sizes: tuple[int, int], dim: int, negatives: int, temperature: float, momentum: float, seed: int
    ) -> None:
        super().__init__()
        wrong = {
            f"crd_dim {dim}": dim < 1,
            f"crd_negatives {negatives}": negatives < 1,
            f"crd_temperature {temperature}": not temperature > 0,
            f"crd_momentum {momentum}": not 0 <= momentum < 1,
        }
        if found := ", ".join(text for text, bad in wrong.items() if bad):
            raise UsageError("crd", found, "dim, negatives and temperature lie above 0, momentum in 0..1")
        self.dim, self.negatives, self.temperature, self.momentum, self.seed = (
            dim, negatives, temperature, momentum, seed,
        )  # fmt: skip
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.student, self.teacher = nn.Linear(sizes[0], dim), nn.Linear(sizes[1], dim)

    def fill(self, labels: Tensor | None, device: torch.device) -> None:
        """Lay out the bank for these samples, at random. Raises: UsageError when no sample can be a negative."""
        if labels is None:
            raise UsageError("crd", "the training data have no labels", "give labels: negatives are of other classes")
        _, inverse, counts = labels.cpu().unique(return_inverse=True, return_counts=True)
        if len(counts) < 2:
            found = f"all {len(labels)} training samples are of class {int(labels[0])}"
            raise UsageError("crd", found, "it needs samples of two classes at least")
        generator = torch.Generator().manual_seed(self.seed)
        for name in ("bank_s", "bank_t"):
            rows = torch.randn(len(labels), self.dim, generator=generator)
            self.register_buffer(name, F.normalize(rows).to(device))
        self.register_buffer("norms", torch.full((2,), -1.0, device=device))
        # Samples sorted by class: those of one class lie side by side and are jumped over when drawing.
        self.register_buffer("order", inverse.argsort(stable=True).to(device), persistent=False)
        self.register_buffer("first", (counts.cumsum(0) - counts)[inverse].to(device), persistent=False)
        self.register_buffer("alike", counts[inverse].to(device), persistent=False)

    def forward(self, z_s: Tensor, z_t: Tensor, rows: Tensor | None) -> Tensor:
        """The loss of both directions, and the bank's update in training. Shape: (N, d_s), (N, d_t), (N,)."""
        if rows is None or "bank_s" not in self._buffers:
            found = "no row numbers of the samples" if rows is None else "an empty memory bank"
            raise UsageError("crd", found, "train it by fit()")
        with torch.autocast(z_s.device.type, enabled=False):
            s = F.normalize(self.student(at_least_fp32(z_s)), dim=1)
            t = F.normalize(self.teacher(at_least_fp32(z_t)), dim=1)
            picked = torch.cat([rows[:, None], self.draw(rows)], 1)
            count = len(self.bank_s)
            loss = contrastive_loss(self._scores(s, self.bank_t, picked, 0), count)
            loss = loss + contrastive_loss(self._scores(t, self.bank_s, picked, 1), count)
        if self.training:
            self._remember(self.bank_s, s, rows)
            self._remember(self.bank_t, t, rows)
        return loss

    def draw(self, rows: Tensor) -> Tensor:
        """Rows of other classes for each anchor. Shape: (N,) -> (N, K)."""
        total = len(self.order)
        alike = self.alike[rows][:, None]
        others = total - alike
        shape = (len(rows), min(self.negatives, total))
        drawn = (torch.rand(shape, device=rows.device) * others).long().clamp_max(others - 1)
        return self.order[torch.where(drawn >= self.first[rows][:, None], drawn + alike, drawn)]

    def _scores(self, anchors: Tensor, bank: Tensor, picked: Tensor, side: int) -> Tensor:
        if len(bank) <= WHOLE_BANK * picked.shape[1]:
            # A copy: the bank changes in place before the gradient is asked for.
            cosines = (anchors @ bank.clone().T).gather(1, picked)
        else:
            cosines = torch.einsum("nd,nkd->nk", anchors, bank[picked])
        raw = (cosines / self.temperature).exp()
        if self.norms[side] < 0:  # fixed from the first batch on, that of all processes
            means = ranks().gather(raw.detach().mean())
            self.norms[side] = torch.stack(means).mean() * len(bank)
        return raw / self.norms[side].clone()

    @torch.no_grad()
    def _remember(self, bank: Tensor, values: Tensor, rows: Tensor) -> None:
        values, rows = (torch.cat(ranks().gather(part.detach())) for part in (values, rows))  # one bank for all
        bank[rows] = F.normalize(self.momentum * bank[rows] + (1 - self.momentum) * values, dim=1)
