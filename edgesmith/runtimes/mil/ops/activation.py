"""Activations. Alpha and beta of a family member are one number, or one a channel where the type says so."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from edgesmith.errors import EngineFailed
from edgesmith.runtimes.mil.registry import Tensor, op


@op("relu")
def relu(x: Tensor) -> Tensor:
    """max(x, 0)."""
    return torch.relu(x)


@op("relu6")
def relu6(x: Tensor) -> Tensor:
    """x clipped to 0 .. 6."""
    return x.clamp(0, 6)


@op("clamped_relu")
def clamped_relu(x: Tensor, alpha: float, beta: float) -> Tensor:
    """min(x, beta) where x >= 0, min(alpha x, beta) elsewhere."""
    return torch.where(x >= 0, x, alpha * x).clamp(max=beta)


@op("elu")
def elu(x: Tensor, alpha: float) -> Tensor:
    """x where positive, alpha (exp(x) - 1) elsewhere."""
    return F.elu(x, alpha)


@op("gelu")
def gelu(x: Tensor, mode: str = "EXACT") -> Tensor:
    """x times the normal distribution function of x, or one of two approximations of it."""
    if mode == "SIGMOID_APPROXIMATION":
        return x * torch.sigmoid(1.702 * x)
    if mode not in ("EXACT", "TANH_APPROXIMATION"):
        raise EngineFailed("compute gelu", f"its mode is {mode!r}", "convert the model again")
    return F.gelu(x, approximate="none" if mode == "EXACT" else "tanh")


@op("leaky_relu")
def leaky_relu(x: Tensor, alpha: float) -> Tensor:
    """x where x >= 0, alpha x elsewhere."""
    return F.leaky_relu(x, alpha)


@op("linear_activation")
def linear_activation(x: Tensor, alpha: float, beta: float) -> Tensor:
    """alpha x + beta."""
    return alpha * x + beta


@op("prelu")
def prelu(x: Tensor, alpha: Tensor) -> Tensor:
    """x where positive, alpha x elsewhere. Shape: (n, C, ...), alpha (C,)."""
    return torch.prelu(x, alpha)


@op("scaled_tanh")
def scaled_tanh(x: Tensor, alpha: float, beta: float) -> Tensor:
    """alpha tanh(beta x)."""
    return alpha * torch.tanh(beta * x)


@op("sigmoid")
def sigmoid(x: Tensor) -> Tensor:
    """1 / (1 + exp(-x))."""
    return torch.sigmoid(x)


@op("sigmoid_hard")
def sigmoid_hard(x: Tensor, alpha: float, beta: float) -> Tensor:
    """alpha x + beta, clipped to 0 .. 1."""
    return (alpha * x + beta).clamp(0, 1)


@op("silu")
def silu(x: Tensor) -> Tensor:
    """x sigmoid(x)."""
    return F.silu(x)


@op("softmax")
def softmax(x: Tensor, axis: int = -1) -> Tensor:
    """exp(x) over its sum along an axis."""
    return torch.softmax(x, axis)


@op("softplus")
def softplus(x: Tensor) -> Tensor:
    """log(1 + exp(x))."""
    return torch.logaddexp(x, torch.zeros(()))


@op("softplus_parametric")
def softplus_parametric(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    """alpha log(1 + exp(beta x)). Shape: (n, C, ...), alpha and beta (C,)."""
    a, b = (one.reshape(-1, *[1] * (x.ndim - 2)) for one in (alpha, beta))
    return a * torch.logaddexp(b * x, torch.zeros(()))


@op("softsign")
def softsign(x: Tensor) -> Tensor:
    """x / (1 + |x|)."""
    return F.softsign(x)


@op("thresholded_relu")
def thresholded_relu(x: Tensor, alpha: float) -> Tensor:
    """x where x >= alpha, 0 elsewhere."""
    return torch.where(x >= alpha, x, 0.0)
