"""Tensors out of numbers: filled, counted, one-hot, random."""

from __future__ import annotations

import math

import torch

from edgesmith.runtimes.mil.limits import check_size
from edgesmith.runtimes.mil.registry import Ints, Tensor, op


@op("fill")
def fill(shape: Ints, value: float = 0.0) -> Tensor:
    """One value everywhere; the plan gives it the declared type."""
    check_size(shape)
    return torch.full(shape, value)


@op("fill_like", since="ios16")
def fill_like(ref_tensor: Tensor, value: float = 0.0) -> Tensor:
    """One value in the shape of another tensor; the plan gives it the declared type."""
    return torch.full(ref_tensor.shape, value)


@op("range_1d")
def range_1d(end: float, start: float, step: float) -> Tensor:
    """start, start + step, ... before end."""
    if step == 0:
        raise ValueError("a range in steps of 0")
    count = max(0, math.ceil((end - start) / step))
    check_size([count])
    return start + torch.arange(count, dtype=torch.float64) * step


@op("one_hot")
def one_hot(
    indices: Tensor, one_hot_vector_size: int, axis: int = -1, on_value: float = 1.0, off_value: float = 0.0
) -> Tensor:
    """on_value where the position on a new axis is the index, else off_value; an index outside has no place."""
    check_size([*indices.shape, one_hot_vector_size])
    axis = axis + indices.dim() + 1 if axis < 0 else axis
    places = torch.arange(one_hot_vector_size).reshape([-1] + [1] * (indices.dim() - axis))
    return torch.where(indices.unsqueeze(axis) == places, on_value, off_value)


@op("non_zero")
def non_zero(x: Tensor) -> Tensor:
    """The positions of the elements that are not zero, one a row."""
    return torch.nonzero(x)


def _generator(seed: int) -> torch.Generator | None:
    """A seed gives the same numbers in every run; without one they are PyTorch's next.

    They have the distribution that is asked for; Core ML draws other ones.
    """
    return None if seed < 0 else torch.Generator().manual_seed(seed)


@op("random_uniform")
def random_uniform(shape: Ints, low: float = 0.0, high: float = 1.0, seed: int = -1) -> Tensor:
    """Uniform in [low, high)."""
    check_size(shape)
    return low + (high - low) * torch.rand(shape, generator=_generator(seed))


@op("random_normal")
def random_normal(shape: Ints, mean: float = 0.0, stddev: float = 1.0, seed: int = -1) -> Tensor:
    """Normal with this mean and standard deviation."""
    check_size(shape)
    return mean + stddev * torch.randn(shape, generator=_generator(seed))


@op("random_bernoulli")
def random_bernoulli(shape: Ints, prob: float = 0.5, seed: int = -1) -> Tensor:
    """1 with this probability, else 0."""
    check_size(shape)
    return (torch.rand(shape, generator=_generator(seed)) < prob).float()


@op("random_categorical")
def random_categorical(x: Tensor, mode: str = "logits", size: int = 1, seed: int = -1) -> Tensor:
    """`size` draws from the distributions along the last axis. Raises: ValueError for an unknown mode."""
    if mode not in ("logits", "probs"):
        raise ValueError(f"mode {mode!r}: it is logits or probs")
    check_size([*x.shape[:-1], size])
    weights = (x.softmax(-1) if mode == "logits" else x).reshape(-1, x.shape[-1])
    drawn = torch.multinomial(weights, size, replacement=True, generator=_generator(seed))
    return drawn.reshape(*x.shape[:-1], size)
