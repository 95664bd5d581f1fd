"""Products of matrices."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from edgesmith.runtimes.mil import numerics
from edgesmith.runtimes.mil.registry import Call, Tensor, Tensors, op


@op("linear")
def linear(x: Tensor, weight: Tensor, call: Call, bias: Tensor | None = None) -> Tensor:
    """x weight^T + bias."""
    if not call.numerics.half_sums:
        return F.linear(x, weight, bias)
    product = numerics.matmul(x, weight.T, call.numerics)
    return product if bias is None else product + bias


@op("matmul")
def matmul(x: Tensor, y: Tensor, call: Call, transpose_x: bool = False, transpose_y: bool = False) -> Tensor:
    """The product of the last two axes, the others as a batch, as numpy's matmul."""
    left = x.transpose(-1, -2) if transpose_x and x.ndim > 1 else x
    right = y.transpose(-1, -2) if transpose_y and y.ndim > 1 else y
    return numerics.matmul(left, right, call.numerics)


@op("einsum")
def einsum(values: Tensors, equation: str, call: Call) -> Tensor:
    """A sum of products in Einstein's notation, of two tensors."""
    left, right = values
    if not call.numerics.half_sums:
        return torch.einsum(equation, left, right)
    names, result = equation.replace(" ", "").split("->")
    first, second = names.split(",")
    summed = [name for name in first if name in second and name not in result]
    if len(summed) != 1:
        return torch.einsum(equation, left, right)
    a, b = first.index(summed[0]), second.index(summed[0])
    pieces = zip(left.split(numerics.CHUNK, a), right.split(numerics.CHUNK, b))
    return numerics.half_sum(torch.einsum(equation, x, y) for x, y in pieces)
