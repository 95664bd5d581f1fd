"""Class-aware selective loss: which labels that nobody annotated count as absent, label by label.

Source: Ben-Baruch et al. 2022, arXiv 2110.10955, equations (5) to (7); Durand et al. 2019 for "normalized".
differs from the authors' code: the class prior comes from one clean pass of the finished Ignore model over images
without augmentation (theirs is summed up during its training, from the first random step on), and is kept on disk.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgesmith.compress.class_prior import prior_of
from edgesmith.compress.focal import Focus, Reduction, focal_loss
from edgesmith.compress.multilabel import MultiLabel, check_outputs
from edgesmith.compress.task import Parts, Source
from edgesmith.errors import UsageError

Mode = Literal["ignore", "negative", "selective", "normalized"]
Over = Literal["batch", "image"]
SPAN = 64  # logits that share a maximum in the search for the highest ones


class SelectiveLoss(nn.Module):
    """Partial asymmetric loss (5) with the selective weights (6) of entries that are not annotated (-1).

    ignore: they are left out. negative: all count, with gamma_unknown. selective: those count whose class is not
    frequent (prior at most eta) and that are not among the top_k highest logits of an image; over "batch", top_k * N
    are taken from the whole batch, as in the authors' code. normalized: left out, and annotated entries of an image
    with n of them weigh 1 + 1 / (1 + n). eta None uses no prior. An image without any annotation is then one of
    negatives, apart from what is ignored; in the modes without them it adds 0.

    Shape: logits (N, C), targets (N, C) of 1, 0, -1, prior (C,).
    """

    frequent: Tensor | None

    def __init__(
        self,
        mode: Mode = "selective",
        gamma_neg: float = 1.0,
        gamma_pos: float = 0.0,
        gamma_unknown: float = 4.0,
        clip: float = 0.0,
        eta: float | None = 0.5,
        top_k: int = 5,
        over: Over = "batch",
        prior: Tensor | None = None,
        detach_weights: bool = False,
        reduction: Reduction = "sum",
        compiled: bool = False,
    ) -> None:
        super().__init__()
        if mode not in get_args(Mode) or over not in get_args(Over) or top_k < 0:
            found = f"mode {mode!r}, over {over!r}, top_k {top_k}"
            raise UsageError("a selective loss", found, f"modes are {get_args(Mode)}, over is {get_args(Over)}")
        self.mode, self.over, self.eta, self.top_k = mode, over, eta, top_k
        counted = mode in ("negative", "selective")
        self.focus = Focus(gamma_pos, gamma_neg, gamma_unknown if counted else None, clip, detach_weights)
        self.reduction, self.compiled = reduction, compiled
        self.register_buffer("frequent", None)
        if prior is not None:
            self.use_prior(prior)

    def use_prior(self, prior: Tensor) -> None:
        """Take the class prior, shares from 0 to 1 (C,); only whether one is above eta matters. Raises: UsageError."""
        if prior.dim() != 1 or not bool(((prior >= 0) & (prior <= 1)).all()):
            found = f"shape {tuple(prior.shape)}, values {prior.flatten()[:3].tolist()}"
            raise UsageError("a class prior", found, "give one share in 0..1 a class")
        self.frequent = None if self.eta is None else (prior > self.eta).float()

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        weight = unknown_weight = None
        if self.mode == "normalized":
            weight = 1 + 1 / (1 + (targets != -1).sum(1, keepdim=True))
        if self.mode == "selective":
            unknown_weight = self._unless_frequent(logits)
            weight = self.likely(logits, targets) if self.top_k else None
        return focal_loss(
            logits, targets, self.focus, weight, unknown_weight, reduction=self.reduction, compiled=self.compiled
        )

    @torch.no_grad()
    def likely(self, logits: Tensor, targets: Tensor) -> Tensor:
        """0 for the entries of Omega_like, which are likely there, 1 for all others. Shape: (N, C), uint8."""
        if logits.shape != targets.shape or logits.dim() != 2:
            found = f"logits {tuple(logits.shape)}, targets {tuple(targets.shape)}"
            raise UsageError("a multi-label loss", found, "give both as (images, classes)")
        keep = torch.ones(logits.shape, dtype=torch.uint8, device=logits.device)
        if self.over == "image":
            score = logits.masked_fill(targets != -1, -torch.inf)
            best = score.topk(min(self.top_k, logits.shape[1]), 1, sorted=False)
            return keep.scatter_(1, best.indices, (best.values == -torch.inf).to(torch.uint8))
        values, places = highest(logits, targets, self.top_k * len(logits), self.compiled)
        keep.view(-1)[places] = (values == -torch.inf).to(torch.uint8)
        return keep

    def _unless_frequent(self, logits: Tensor) -> Tensor | None:
        if self.frequent is not None and len(self.frequent) != logits.shape[1]:
            found = f"{len(self.frequent)} classes, the logits have {logits.shape[1]}"
            raise UsageError("a class prior", found, "estimate it by a net of the same classes")
        return None if self.frequent is None else 1 - self.frequent


def highest(logits: Tensor, targets: Tensor, count: int, compiled: bool = False) -> tuple[Tensor, Tensor]:
    """The `count` highest logits that are not annotated and their places in the flat batch; -inf fills up.

    Of many logits the maxima of spans are looked at first: the `count` highest lie in the `count` best spans.
    Shape: (N, C) twice -> (count,) twice.
    """
    count = min(count, logits.numel())
    if logits.numel() < 4 * SPAN * count:
        found = logits.masked_fill(targets != -1, -torch.inf).flatten().topk(count, sorted=False)
        return found.values, found.indices
    best = (_compiled_maxima() if compiled else _maxima)(logits, targets).topk(count, sorted=False).indices
    places = (best[:, None] * SPAN + torch.arange(SPAN, device=logits.device)).flatten()
    places = places[places < logits.numel()]
    unknown = targets.flatten()[places] == -1
    found = logits.flatten()[places].masked_fill(~unknown, -torch.inf).topk(count, sorted=False)
    return found.values, places[found.indices]


def _maxima(logits: Tensor, targets: Tensor) -> Tensor:
    score = torch.where(targets < 0, logits, -torch.inf).flatten()
    return F.pad(score, (0, -len(score) % SPAN), value=-torch.inf).view(-1, SPAN).amax(1)


@cache
def _compiled_maxima() -> Callable[[Tensor, Tensor], Tensor]:
    return torch.compile(_maxima)


def csl(
    parts: Parts,
    mode: Mode = "selective",
    gamma_neg: float = 1.0,
    gamma_pos: float = 0.0,
    gamma_unknown: float = 4.0,
    clip: float = 0.0,
    eta: float | None = 0.5,
    top_k: int = 5,
    over: Over = "batch",
    detach_weights: bool = False,
    reduction: Reduction = "mean",
    compiled: bool = False,
) -> MultiLabel:
    """Train on partially annotated labels, see SelectiveLoss; the defaults are the paper's for half of the labels.

    "selective" wants `prior_from: STAGE`, an earlier stage trained with mode "ignore", or eta: null.
    Raises: UsageError for parts or numbers that do not fit.
    """
    asks = mode == "selective" and eta is not None
    if asks and parts.prior is None:
        todo = 'name a stage trained with mode "ignore" as prior_from, or say eta: null'
        raise UsageError("a selective loss", "no stage to estimate the class prior by", todo)
    loss = SelectiveLoss(
        mode, gamma_neg, gamma_pos, gamma_unknown, clip, eta, top_k, over, None, detach_weights, reduction, compiled
    )
    net = parts.prior

    def before(source: Source) -> None:
        if asks and net is not None:
            loss.use_prior(prior_of(net, source))

    check_outputs(parts.student, parts.classes)
    return MultiLabel(parts.student, loss, parts.classes, before)
