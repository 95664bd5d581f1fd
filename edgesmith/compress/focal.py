"""The focal family for multi-label targets: loss and gradient by logit in one pass, in closed form.

Targets are 1 (present), 0 (absent) and -1 (not annotated). With p = sigmoid(z) and p_m = max(p - m, 0):

    present        (1 - p)^g+ log p
    absent         p_m^g-     log(1 - p_m)
    not annotated  p_m^gu     log(1 - p_m)

Everything is computed in fp32 at least, from e = exp(-|z|): no logarithm of a clamped probability. The classes of
targets are told apart by arithmetic, as torch.compile on a CPU is slow where it has to store a mask.
Source: ASL, arXiv 2009.14119; CSL, arXiv 2110.10955; Lin et al. 2017 for the focal loss.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from edgesmith.compress.task import at_least_fp32
from edgesmith.errors import UsageError

Reduction = Literal["sum", "mean"]
Gamma = float | Tensor
Pass = Callable[..., tuple[Tensor, Tensor, Tensor]]
SMALLEST_CLIP = 1e-4  # below, 1 - p_m is lost in fp32 and clip 0 is meant
LARGEST_POWER = 8  # whole exponents up to it are products, which are much faster than a power


@dataclass(frozen=True)
class Focus:
    """The focusing exponents and the margin m; unknown None leaves entries that are not annotated out.

    detach: take the focusing weight as constant in the gradient. Raises: UsageError.
    """

    pos: Gamma
    neg: Gamma
    unknown: Gamma | None = None
    clip: float = 0.0
    detach: bool = False

    def __post_init__(self) -> None:
        gammas = {"gamma_pos": self.pos, "gamma_neg": self.neg, "gamma_unknown": self.unknown}
        wrong = [f"{name} {g}" for name, g in gammas.items() if isinstance(g, (int, float)) and not 0 <= g < 100]
        if self.clip != 0 and not SMALLEST_CLIP <= self.clip < 1:
            wrong.append(f"clip {self.clip}")
        if wrong:
            todo = f"exponents go from 0 to below 100, clip is 0 or {SMALLEST_CLIP} to below 1"
            raise UsageError("a focal loss", ", ".join(wrong), todo)


def focal_loss(
    logits: Tensor,
    targets: Tensor,
    focus: Focus,
    weight: Tensor | None = None,
    unknown_weight: Tensor | None = None,
    reduction: Reduction = "sum",
    compiled: bool = False,
) -> Tensor:
    """The loss of a batch, summed or averaged over all its entries, annotated or not.

    weight counts for every entry, unknown_weight for those not annotated. `compiled` fuses the pass by torch.compile.
    Shape: logits and targets (N, C), both weights are broadcast to them. Raises: UsageError for wrong targets.
    """
    if logits.dim() != 2 or logits.shape != targets.shape:
        found = f"logits {tuple(logits.shape)}, targets {tuple(targets.shape)}"
        raise UsageError("a multi-label loss", found, "give both as (images, classes)")
    kernel = _compiled_pass() if compiled else focal_pass
    total = _ClosedForm.apply(logits, targets, focus, weight, unknown_weight, kernel)
    return total if reduction == "sum" else total / max(logits.numel(), 1)


def focal_pass(
    logits: Tensor, targets: Tensor, focus: Focus, weight: Tensor | None, unknown_weight: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """The sum of the loss, its gradient by every logit, and a number that is 0 where all targets are -1, 0 or 1.

    For an absent class with p > m the gradient is p (1 - p) p_m^g [1 / (1 - p_m) - g log(1 - p_m) / p_m].
    Source: ASL, its analysis of gradients.
    """
    z, y = at_least_fp32(logits), targets.to(torch.promote_types(logits.dtype, torch.float32))
    present, absent, unknown = y.clamp_min(0), 1 - y.abs(), (-y).clamp_min(0)
    side = 2 * present - 1
    s = z * side  # the logit of the target's side: high is right
    e = (-s.abs()).exp()
    large = 1 / (1 + e)
    small = e * large
    wrong = torch.where(s > 0, small, large)  # 1 - p where present, p elsewhere
    right = torch.where(s > 0, large, small)
    p_m = (wrong - focus.clip).clamp_min(0)
    if focus.clip:
        scale = 1 / (1 - p_m)
        nlog = torch.log1p(present * e + (1 - present) * p_m * scale) + present * (-s).clamp_min(0)
        slope = present * wrong + (1 - present) * wrong * right * scale * (p_m > 0)  # of nlog, by -s
    else:
        nlog = torch.log1p(e) + (-s).clamp_min(0)
        slope = wrong
    # Focusing weight and its derivative by -s.
    pos, d_pos = _weight(wrong, wrong * right, focus.pos)
    neg, d_neg = _weight(p_m, wrong * right, focus.neg)
    factor, d_factor = present * pos + absent * neg, present * d_pos + absent * d_neg
    if focus.unknown is not None:
        more, d_more = _weight(p_m, wrong * right, focus.unknown)
        unknown = unknown if unknown_weight is None else unknown * unknown_weight
        factor, d_factor = factor + unknown * more, d_factor + unknown * d_more
    gradient = factor * slope if focus.detach else factor * slope + d_factor * nlog
    loss, gradient = factor * nlog, -side * gradient
    if weight is not None:
        loss, gradient = loss * weight, gradient * weight
    return loss.sum(), gradient, (y * y * y - y).abs().amax()


def _weight(x: Tensor, slope: Tensor, gamma: Gamma) -> tuple[Tensor, Tensor]:
    """x^gamma and its derivative, where x has this slope; no derivative where x is 0."""
    if isinstance(gamma, (int, float)) and gamma == int(gamma) and gamma <= LARGEST_POWER:
        if not gamma:
            return torch.ones_like(x), torch.zeros_like(x)
        below = _product(x, int(gamma) - 1)
        return below * x, gamma * below * slope
    value = x**gamma
    return value, torch.where(x > 0, gamma * value / torch.where(x > 0, x, 1.0) * slope, 0.0)


def _product(x: Tensor, times: int) -> Tensor:
    found, square = torch.ones_like(x) if not times else None, x
    while times:
        if times & 1:
            found = square if found is None else found * square
        times >>= 1
        square = square * square if times else square
    return found  # type: ignore[return-value]


class _ClosedForm(torch.autograd.Function):
    """Loss and gradient come from one pass forward; backward scales the gradient and gives it away."""

    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        targets: Tensor,
        focus: Focus,
        weight: Tensor | None,
        unknown_weight: Tensor | None,
        kernel: Pass,
    ) -> Tensor:
        total, ctx.gradient, strange = kernel(logits, targets, focus, weight, unknown_weight)
        if strange.device.type == "cpu" and not bool(strange == 0):  # elsewhere a look would wait for the device
            check_values(targets)
        ctx.save_for_backward(logits, targets, weight, unknown_weight)
        ctx.again = lambda logits, targets, *weights: kernel(logits, targets, focus, *weights)[1]
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        gradient, ctx.gradient = ctx.gradient, None
        if gradient is None:  # the graph was retained, and this is not the first time
            gradient = ctx.again(*ctx.saved_tensors)
        return gradient.mul_(outer[0]).to(ctx.saved_tensors[0].dtype), None, None, None, None, None


@cache
def _compiled_pass() -> Pass:
    return torch.compile(focal_pass)


def check_values(targets: Tensor) -> None:
    """Raise UsageError, naming the first one, for values that are not -1, 0 or 1."""
    bad = (targets != 0) & (targets.abs() != 1)
    if bool(bad.any()):
        at = tuple(bad.nonzero()[0].tolist())
        todo = "write 1 for present, 0 for absent, -1 for not annotated"
        raise UsageError("multi-label targets", f"{targets[at].item()} at {at}", todo)
