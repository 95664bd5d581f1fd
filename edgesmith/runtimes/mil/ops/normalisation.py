"""Normalisations. The statistics are in float32 in every mode: what is rounded is the result."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from edgesmith.runtimes.mil.registry import Ints, Tensor, op


@op("batch_norm")
def batch_norm(
    x: Tensor,
    mean: Tensor,
    variance: Tensor,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    epsilon: float = 1e-5,
) -> Tensor:
    """gamma (x - mean) / sqrt(variance + epsilon) + beta, a number a channel. Shape: (n, C, ...)."""
    return F.batch_norm(x, mean, variance, gamma, beta, training=False, eps=epsilon)


@op("instance_norm")
def instance_norm(x: Tensor, gamma: Tensor | None = None, beta: Tensor | None = None, epsilon: float = 1e-5) -> Tensor:
    """Each channel of each sample to mean 0 and variance 1. Shape: (n, C, ...)."""
    normal = _normalised(x, list(range(2, x.ndim)), epsilon)
    shape = (-1, *[1] * (x.ndim - 2))
    return _affine(normal, gamma, beta, shape)


@op("layer_norm")
def layer_norm(
    x: Tensor,
    axes: Ints | None = None,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    epsilon: float = 1e-5,
) -> Tensor:
    """The values of the axes to mean 0 and variance 1; gamma and beta have the shape of these axes."""
    chosen = sorted(axis % x.ndim for axis in (range(x.ndim) if axes is None else axes))
    if chosen == list(range(x.ndim - len(chosen), x.ndim)):
        return F.layer_norm(x, x.shape[chosen[0] :], gamma, beta, epsilon)
    shape = tuple(size if axis in chosen else 1 for axis, size in enumerate(x.shape))
    return _affine(_normalised(x, chosen, epsilon), gamma, beta, shape)


@op("l2_norm")
def l2_norm(x: Tensor, epsilon: float = 1e-6) -> Tensor:
    """x over sqrt(sum of squares + epsilon) of the last three axes."""
    return x * torch.rsqrt(x.square().sum((-3, -2, -1), keepdim=True) + epsilon)


@op("local_response_norm")
def local_response_norm(x: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Tensor:
    """x / (k + alpha / size * sum of squares of `size` neighbouring channels)^beta. Shape: (n, C, ...)."""
    return F.local_response_norm(x, size, alpha, beta, k)


def _normalised(x: Tensor, axes: list[int], epsilon: float) -> Tensor:
    variance, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
    return (x - mean) * torch.rsqrt(variance + epsilon)


def _affine(x: Tensor, gamma: Tensor | None, beta: Tensor | None, shape: tuple[int, ...]) -> Tensor:
    x = x if gamma is None else x * gamma.reshape(shape)
    return x if beta is None else x + beta.reshape(shape)
