"""Margin softmax for embeddings: from embeddings and class centres to scaled logits.

Source: ArcFace and the combined margin, Deng et al. 2019, arXiv 1801.07698; CosFace, Wang et al. 2018, arXiv
1801.09414; AdaFace, Kim et al. 2022, arXiv 2204.00964.
differs from the authors' code: the gradient goes through the margin (InsightFace takes the margin as a constant shift,
here `exact=False`), only the target's cosine is clamped, and a combined margin with m1 > 1 stays monotone beyond pi.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from edgesmith.compress.task import at_least_fp32
from edgesmith.errors import UsageError

MarginName = Literal["arcface", "cosface", "combined", "adaface", "linear"]
DEFAULT_M = {"arcface": 0.5, "cosface": 0.4, "adaface": 0.4}
EDGE = 1e-7  # arccos and the square root have an infinite slope at cosine 1
ADAFACE_EDGE = 1e-3
SHORTEST_ROW = 1e-12  # as in F.normalize
SHORTEST, LONGEST = 1e-3, 100.0  # of an embedding, for AdaFace


class Margin(Protocol):
    """What becomes of the target's cosine; `norms` are the lengths of all embeddings of the batch.

    Shape: (N,), (N,) -> (N,).
    """

    def __call__(self, cosine: Tensor, norms: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Combined:
    """cos(m1 theta + m2) - m3; where the angle would pass pi, cos(theta) less a constant, so that it stays monotone.

    m2 in radians. Raises: UsageError for m1 below 1, m2 outside 0..pi, m3 below 0.
    """

    m1: float = 1.0
    m2: float = 0.0
    m3: float = 0.0
    exact: bool = True

    def __post_init__(self) -> None:
        wrong = {f"m1 {self.m1}": not self.m1 >= 1, f"m2 {self.m2}": not 0 <= self.m2 < math.pi}
        wrong[f"m3 {self.m3}"] = not 0 <= self.m3 < math.inf
        if found := ", ".join(text for text, bad in wrong.items() if bad):
            raise UsageError("a margin", found, "m1 from 1 on, m2 from 0 to below pi, m3 from 0 on")

    def __call__(self, cosine: Tensor, norms: Tensor) -> Tensor:
        if not self.exact:
            with torch.no_grad():
                shift = self._moved(cosine) - cosine
            return cosine + shift
        return self._moved(cosine)

    def _moved(self, cosine: Tensor) -> Tensor:
        if self.m1 == 1 and self.m2 == 0:
            return cosine - self.m3
        inside = cosine.clamp(-1 + EDGE, 1 - EDGE)
        if self.m1 == 1:  # the linear term is not clamped: at cosine 1 the gradient is cos m2, not 0
            moved = cosine * math.cos(self.m2) - (1 - inside.square()).sqrt() * math.sin(self.m2)
        else:
            moved = (self.m1 * inside.arccos() + self.m2).cos()
        last = (math.pi - self.m2) / self.m1  # the angle that the margin brings to pi
        rest = math.pi - last
        # ArcFace's m sin(pi - m), written for any m1; never less than what closes the gap to -1.
        beyond = cosine - max(rest * math.sin(rest), 1 - math.cos(rest))
        return torch.where(cosine > math.cos(last), moved, beyond) - self.m3


def arcface(m: float = 0.5, exact: bool = True) -> Combined:
    """cos(theta + m), m in radians."""
    return Combined(m2=m, exact=exact)


def cosface(m: float = 0.4) -> Combined:
    """cos(theta) - m."""
    return Combined(m3=m)


class AdaFace(nn.Module):
    """A margin that follows the embedding's length, taken as the picture's quality: buffers hold its mean and std.

    k = clip(h (|z| - mean) / std, -1, 1); cos(theta - m k) - (m + m k). Raises: UsageError.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, m: float = 0.4, h: float = 0.333, ema: float = 0.01) -> None:
        super().__init__()
        wrong = {f"m {m}": not 0 <= m < math.pi / 2, f"h {h}": not h > 0, f"ema {ema}": not 0 < ema <= 1}
        if found := ", ".join(text for text, bad in wrong.items() if bad):
            raise UsageError("AdaFace", found, "m from 0 to below pi / 2, h above 0, ema in 0..1 but not 0")
        self.m, self.h, self.ema = m, h, ema
        self.register_buffer("mean", torch.tensor(20.0))
        self.register_buffer("std", torch.tensor(100.0))

    def forward(self, cosine: Tensor, norms: Tensor) -> Tensor:
        return self.moved(cosine, self.quality(norms))

    @torch.no_grad()
    def quality(self, norms: Tensor) -> Tensor:
        """k in -1..1 of each embedding; in training the buffers move first. A single embedding has no spread."""
        lengths = norms.detach().clamp(SHORTEST, LONGEST)
        if self.training and len(lengths) > 1:
            self.mean.lerp_(lengths.mean().to(self.mean), self.ema)
            self.std.lerp_(lengths.std().to(self.std), self.ema)
        return (self.h * (lengths - self.mean) / (self.std + ADAFACE_EDGE)).clamp(-1, 1)

    def moved(self, cosine: Tensor, quality: Tensor) -> Tensor:
        """The target's cosine for a given k: -1 as ArcFace, 0 as CosFace, 1 a larger additive margin."""
        theta = cosine.clamp(-1 + ADAFACE_EDGE, 1 - ADAFACE_EDGE).arccos()
        angle = (theta - self.m * quality).clamp(ADAFACE_EDGE, math.pi - ADAFACE_EDGE)
        return angle.cos() - self.m * (1 + quality)


class _Unit(torch.autograd.Function):
    """F.normalize of rows whose backward pass makes one temporary: with many classes they are most of a step."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        lengths = rows.norm(dim=1, keepdim=True).clamp_min(SHORTEST_ROW)
        unit = rows / lengths
        ctx.save_for_backward(unit, lengths)
        return unit

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        unit, lengths = ctx.saved_tensors
        along = torch.einsum("nd,nd->n", grad, unit)[:, None]
        return torch.addcmul(grad, unit, along, value=-1).div_(lengths)


def unit_rows(rows: Tensor) -> Tensor:
    """Rows of length 1. Shape: (N, d)."""
    return _Unit.apply(rows)  # type: ignore[no-untyped-call]


class Judged(NamedTuple):
    """Scaled logits (N, C) with the margin in them, and the target's logit (N,) without it, detached."""

    logits: Tensor
    target: Tensor


class MarginLogits(nn.Module):
    """Embeddings and centres to scaled logits; no margin at all (None) is plain inner products, unscaled.

    Label -1: the row's class is not among these centres. `filter_above`: negatives with a larger cosine count as 0,
    as they are likely mislabelled. Raises: UsageError.
    """

    def __init__(self, margin: Margin | None, scale: float = 64.0, filter_above: float | None = None) -> None:
        super().__init__()
        if not scale > 0:
            raise UsageError("margin softmax", f"scale {scale}", "give a scale above 0")
        if filter_above is not None and (margin is None or not 0 < filter_above < 1):
            raise UsageError("margin softmax", f"filter_above {filter_above}", "give a cosine in 0..1, and a margin")
        self.margin, self.filter_above = margin, filter_above
        self.scale = 1.0 if margin is None else scale

    def forward(self, embeddings: Tensor, centres: Tensor, labels: Tensor, unit: bool = False) -> Judged:
        """In fp32 at least; `unit`: the centres have length 1 already.

        Shape: embeddings (N, d), centres (C, d), labels (N,).
        """
        with torch.autocast(embeddings.device.type, enabled=False):
            z, w = at_least_fp32(embeddings), at_least_fp32(centres)
            rows, columns = torch.arange(len(z), device=z.device), labels.clamp_min(0)
            if self.margin is None:
                logits = F.linear(z, w)
                return Judged(logits, logits.detach()[rows, columns])
            cosines = F.linear(unit_rows(z), w if unit else unit_rows(w))
            there = cosines[rows, columns]
            target = there.clamp(-1, 1)
            moved = self.margin(target, z.detach().norm(dim=1))
            written = torch.where(labels >= 0, moved, self._filtered(there))
            # In place: the table of logits is the largest thing of a step, and no gradient needs its old values.
            logits = self._filtered(cosines).index_put_((rows, columns), written).mul_(self.scale)
        return Judged(logits, target.detach() * self.scale)

    def _filtered(self, cosines: Tensor) -> Tensor:
        if self.filter_above is None:
            return cosines
        return cosines.masked_fill(cosines.detach() > self.filter_above, 0.0)


def make_margin(
    name: MarginName,
    m: float | None = None,
    margins: Sequence[float] | None = None,
    h: float = 0.333,
    ema: float = 0.01,
    exact: bool = True,
) -> Margin | None:
    """The margin called `name`; m left out is its paper's, `margins` = (m1, m2, m3) goes with "combined".

    Raises: UsageError for an unknown name, or numbers that do not go with it.
    """
    if name not in get_args(MarginName):
        raise UsageError(f"margin {name!r}", "no such name", f"choose one of {get_args(MarginName)}")
    if (margins is not None) != (name == "combined") or (margins is not None and len(margins) != 3):
        raise UsageError(f"margin {name!r}", f"margins {margins}", 'give three numbers with "combined", else none')
    if m is not None and name not in DEFAULT_M:
        raise UsageError(f"margin {name!r}", f"m {m}", f"m goes with {', '.join(DEFAULT_M)}")
    if margins is not None:
        m1, m2, m3 = margins
        return Combined(m1, m2, m3, exact)
    if name == "linear":
        return None
    size = DEFAULT_M[name] if m is None else m
    if name == "adaface":
        return AdaFace(size, h, ema)
    return arcface(size, exact) if name == "arcface" else cosface(size)
