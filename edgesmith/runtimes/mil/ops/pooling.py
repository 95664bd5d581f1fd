"""Pooling over windows of one, two and three dimensions."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F

from edgesmith.runtimes.mil import limits
from edgesmith.runtimes.mil.ops.windows import Pads, before, flat, pads_of, symmetric
from edgesmith.runtimes.mil.registry import Ints, Tensor, op

_MAX: dict[int, Callable[..., Tensor]] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVERAGE: dict[int, Callable[..., Tensor]] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


@op("max_pool")
def max_pool(
    x: Tensor, kernel_sizes: Ints, pad_type: str, strides: Ints = (), pad: Ints = (), ceil_mode: bool = False
) -> Tensor:
    """The largest value of every window. Shape: (n, C, ...)."""
    rank, strides = len(kernel_sizes), strides or (1,) * len(kernel_sizes)
    pads = pads_of(pad_type, pad, x.shape[2:], kernel_sizes, strides, (1,) * rank)
    if not _torch_pads(pads, kernel_sizes):
        x, pads = _padded(x, pads, -math.inf), ((0, 0),) * rank
    return _MAX[rank](x, kernel_sizes, strides, before(pads), ceil_mode=ceil_mode)


@op("avg_pool")
def avg_pool(
    x: Tensor,
    kernel_sizes: Ints,
    pad_type: str,
    strides: Ints = (),
    pad: Ints = (),
    exclude_padding_from_average: bool = False,
    ceil_mode: bool = False,
) -> Tensor:
    """The mean of every window, of what lies in the padding too unless it is excluded. Shape: (n, C, ...)."""
    rank, strides = len(kernel_sizes), strides or (1,) * len(kernel_sizes)
    pads = pads_of(pad_type, pad, x.shape[2:], kernel_sizes, strides, (1,) * rank)
    pool = _AVERAGE[rank]
    if _torch_pads(pads, kernel_sizes):
        include = not exclude_padding_from_average
        return pool(x, kernel_sizes, strides, before(pads), ceil_mode, include)
    mean = pool(_padded(x, pads, 0.0), kernel_sizes, strides, 0, ceil_mode)
    if not exclude_padding_from_average:
        return mean
    inside = pool(_padded(torch.ones_like(x[:1, :1]), pads, 0.0), kernel_sizes, strides, 0, ceil_mode)
    return mean / inside


@op("l2_pool")
def l2_pool(
    x: Tensor, kernel_sizes: Ints, pad_type: str, strides: Ints = (), pad: Ints = (), ceil_mode: bool = False
) -> Tensor:
    """The root of the sum of squares of every window. Shape: (n, C, ...)."""
    rank, strides = len(kernel_sizes), strides or (1,) * len(kernel_sizes)
    pads = pads_of(pad_type, pad, x.shape[2:], kernel_sizes, strides, (1,) * rank)
    squares = _padded(x.square(), pads, 0.0)
    if ceil_mode:
        spare = [(0, stride - 1) for stride in strides]
        squares = _padded(squares, tuple(spare), 0.0)
    mean = _AVERAGE[rank](squares, kernel_sizes, strides)
    return (mean * math.prod(kernel_sizes)).sqrt()


def _torch_pads(pads: Pads, kernel: Ints) -> bool:
    """Whether torch's own padding can do it: as much on both sides, at most half a window."""
    return symmetric(pads) and all(first <= size // 2 for (first, _), size in zip(pads, kernel))


def _padded(x: Tensor, pads: Pads, value: float) -> Tensor:
    limits.check_size([*x.shape[:2], *(size + sum(two) for size, two in zip(x.shape[2:], pads))])
    return F.pad(x, flat(pads), value=value)
