"""Integer model of the quantized operators: the truth in tests.

Integers in, integers out: int32 (here int64) accumulation, then one requantization in float64 with round half to even.
A runtime that requantizes in float32 or in fixed point may differ by one step where the exact result lies near a half.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgesmith.errors import UsageError
from edgesmith.quant import EdgeQuant


def conv2d(
    x: np.ndarray,
    x_quant: EdgeQuant,
    weight: np.ndarray,
    weight_quant: EdgeQuant,
    bias: np.ndarray | None,
    out_quant: EdgeQuant,
    stride: Sequence[int] = (1, 1),
    padding: Sequence[int] = (0, 0),
    dilation: Sequence[int] = (1, 1),
    groups: int = 1,
) -> np.ndarray:
    """Convolution. Shape: x (N, C, H, W), weight (O, C / groups, kh, kw), bias float (O,) -> (N, O, H', W').

    Padding is the real number zero, so the zero point in integers.
    """
    centred = x.astype(np.int64) - int(x_quant.zero_point)
    kernel = weight.astype(np.int64) - _per_output(weight_quant.zero_point, 4).astype(np.int64)
    (top, left), rows, columns = padding, weight.shape[2], weight.shape[3]
    padded = np.pad(centred, ((0, 0), (0, 0), (top, top), (left, left)))
    span = (dilation[0] * (rows - 1) + 1, dilation[1] * (columns - 1) + 1)
    windows = np.lib.stride_tricks.sliding_window_view(padded, span, axis=(2, 3))
    windows = windows[:, :, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]
    count, channels = x.shape[0], weight.shape[1]
    grouped = windows.reshape(count, groups, channels, *windows.shape[2:])
    kernels = kernel.reshape(groups, weight.shape[0] // groups, channels, rows, columns)
    sums = np.einsum("ngchwyx,gocyx->ngohw", grouped, kernels).reshape(count, weight.shape[0], *windows.shape[2:4])
    return _requantize(sums, x_quant, weight_quant, bias, out_quant, axis=1)


def depthwise_conv2d(
    x: np.ndarray,
    x_quant: EdgeQuant,
    weight: np.ndarray,
    weight_quant: EdgeQuant,
    bias: np.ndarray | None,
    out_quant: EdgeQuant,
    stride: Sequence[int] = (1, 1),
    padding: Sequence[int] = (0, 0),
) -> np.ndarray:
    """Convolution of every channel with its own kernel. Shape: x (N, C, H, W), weight (C, 1, kh, kw)."""
    return conv2d(x, x_quant, weight, weight_quant, bias, out_quant, stride, padding, groups=x.shape[1])


def linear(
    x: np.ndarray,
    x_quant: EdgeQuant,
    weight: np.ndarray,
    weight_quant: EdgeQuant,
    bias: np.ndarray | None,
    out_quant: EdgeQuant,
) -> np.ndarray:
    """Linear layer. Shape: x (..., I), weight (O, I), bias float (O,) -> (..., O)."""
    kernel = weight.astype(np.int64) - _per_output(weight_quant.zero_point, 2).astype(np.int64)
    sums = (x.astype(np.int64) - int(x_quant.zero_point)) @ kernel.T
    return _requantize(sums, x_quant, weight_quant, bias, out_quant, axis=-1)


def add(a: np.ndarray, a_quant: EdgeQuant, b: np.ndarray, b_quant: EdgeQuant, out_quant: EdgeQuant) -> np.ndarray:
    """Sum of two tensors, each on its own grid. Shape: broadcast."""
    return _on_grid(_real(a, a_quant) + _real(b, b_quant), out_quant)


def clip(x: np.ndarray, x_quant: EdgeQuant, out_quant: EdgeQuant, low: float = 0.0, high: float = np.inf) -> np.ndarray:
    """ReLU (the default), or ReLU6 with high = 6. Shape: any."""
    return _on_grid(np.clip(_real(x, x_quant), low, high), out_quant)


def max_pool2d(
    x: np.ndarray, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int] = (0, 0)
) -> np.ndarray:
    """The largest integer of each window: it moves values, so the output is on the input's grid, without rounding.

    Shape: x (N, C, H, W) -> (N, C, H', W'). What is padded is never the largest.
    """
    return _windows(x.astype(np.int64), kernel, stride, padding, np.iinfo(np.int64).min).max((-2, -1)).astype(np.int32)


def avg_pool2d(
    x: np.ndarray,
    x_quant: EdgeQuant,
    out_quant: EdgeQuant,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int] = (0, 0),
    count_padding: bool = True,
) -> np.ndarray:
    """Mean of each window. Shape: x (N, C, H, W) -> (N, C, H', W').

    count_padding: whether padded zeros count as values (torch's count_include_pad), else the sum is divided by the
    number of real ones.
    """
    sums = _windows(x.astype(np.int64) - int(x_quant.zero_point), kernel, stride, padding, 0).sum((-2, -1))
    inside = np.ones((1, 1, *x.shape[2:]), np.int64)
    there = _windows(inside, kernel, stride, padding, int(count_padding)).sum((-2, -1))
    return _on_grid(sums * np.float64(x_quant.scale) / there, out_quant)


def global_average(x: np.ndarray, x_quant: EdgeQuant, out_quant: EdgeQuant) -> np.ndarray:
    """Mean over the picture. Shape: x (N, C, H, W) -> (N, C, 1, 1)."""
    return avg_pool2d(x, x_quant, out_quant, x.shape[2:], (1, 1))


def mul(a: np.ndarray, a_quant: EdgeQuant, b: np.ndarray, b_quant: EdgeQuant, out_quant: EdgeQuant) -> np.ndarray:
    """Product of two tensors, each on its own grid. Shape: broadcast."""
    return _on_grid(_real(a, a_quant) * _real(b, b_quant), out_quant)


def concat(parts: Sequence[tuple[np.ndarray, EdgeQuant]], out_quant: EdgeQuant, axis: int = 1) -> np.ndarray:
    """Side by side. Parts on the output's own grid are moved as they are, which is what plans ask for (SameAs)."""
    return np.concatenate([_on_grid(_real(x, quant), out_quant) for x, quant in parts], axis)


def _windows(
    x: np.ndarray, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], fill: int
) -> np.ndarray:
    """Shape: (N, C, H, W) -> (N, C, H', W', kh, kw)."""
    (top, left), (down, right) = padding, stride
    padded = np.pad(x, ((0, 0), (0, 0), (top, top), (left, left)), constant_values=fill)
    return np.lib.stride_tricks.sliding_window_view(padded, tuple(kernel), axis=(2, 3))[:, :, ::down, ::right]


def _requantize(
    sums: np.ndarray,
    x_quant: EdgeQuant,
    weight_quant: EdgeQuant,
    bias: np.ndarray | None,
    out_quant: EdgeQuant,
    axis: int,
) -> np.ndarray:
    """Add the bias, itself an integer of scale s_x * s_w, and go to the output's grid."""
    shape = [1] * sums.ndim
    shape[axis] = -1
    scale = np.float64(x_quant.scale) * np.asarray(weight_quant.scale, np.float64)
    if bias is not None:
        sums = sums + np.rint(np.asarray(bias, np.float64) / scale).astype(np.int64).reshape(shape)
    if np.abs(sums).max(initial=0) > np.iinfo(np.int32).max:
        raise UsageError("an int32 sum", "it does not fit", "use smaller weights or a larger weight scale")
    return _on_grid(sums * np.broadcast_to(scale, sums.shape[axis]).reshape(shape), out_quant)


def _real(q: np.ndarray, quant: EdgeQuant) -> np.ndarray:
    return (q.astype(np.int64) - int(quant.zero_point)) * np.float64(quant.scale)


def _on_grid(x: np.ndarray, quant: EdgeQuant) -> np.ndarray:
    integers = np.rint(x / np.float64(quant.scale)) + int(quant.zero_point)
    return np.clip(integers, quant.spec.qmin, quant.spec.qmax).astype(np.int32)


def _per_output(zero_point: np.ndarray, ndim: int) -> np.ndarray:
    return np.asarray(zero_point).reshape(-1, *[1] * (ndim - 1))
