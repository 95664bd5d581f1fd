"""Quantized activations."""

from __future__ import annotations

import torch

from edgesmith.errors import EngineFailed
from edgesmith.runtimes.mil.registry import Tensor, op

_RANGES = {"int8": (-128, 127), "uint8": (0, 255)}


@op("quantize", since="ios17")
def quantize(
    input: Tensor,
    scale: Tensor,
    output_dtype: str,
    zero_point: Tensor | None = None,
    axis: int | None = None,
) -> Tensor:
    """clip(round(input / scale) + zero_point), ties to even."""
    if output_dtype not in _RANGES:
        raise EngineFailed("quantize", f"to {output_dtype!r}", f"there are {', '.join(_RANGES)}")
    steps = torch.round(input / _along(scale, input, axis))
    if zero_point is not None:
        steps = steps + _along(zero_point.float(), input, axis)
    return steps.clamp(*_RANGES[output_dtype]).to(getattr(torch, output_dtype))


@op("dequantize", since="ios17")
def dequantize(
    input: Tensor,
    scale: Tensor,
    zero_point: Tensor | None = None,
    axis: int | None = None,
) -> Tensor:
    """scale (input - zero_point)."""
    values = input.float()
    if zero_point is not None:
        values = values - _along(zero_point.float(), input, axis)
    return values * _along(scale, input, axis)


def _along(vector: Tensor, data: Tensor, axis: int | None) -> Tensor:
    """One number for all, or one an index of the axis, in the rank of the data."""
    if vector.ndim == 0:
        return vector
    if axis is None:
        raise ValueError("one scale an index needs an axis")
    shape = [1] * data.ndim
    shape[axis] = -1
    return vector.reshape(shape)
