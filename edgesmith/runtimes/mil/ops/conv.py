"""Convolutions of one, two and three dimensions."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch.nn.functional as F

from edgesmith.errors import EngineFailed
from edgesmith.runtimes.mil import limits, numerics
from edgesmith.runtimes.mil.ops.windows import before, flat, pads_of, symmetric
from edgesmith.runtimes.mil.registry import Call, Ints, Tensor, op

_CONV: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSE: dict[int, Callable[..., Tensor]] = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


@op("conv")
def conv(
    x: Tensor,
    weight: Tensor,
    call: Call,
    bias: Tensor | None = None,
    strides: Ints = (),
    pad_type: str = "valid",
    pad: Ints = (),
    dilations: Ints = (),
    groups: int = 1,
) -> Tensor:
    """A convolution. Shape: x (n, C, ...), weight (O, C / groups, ...), pad two numbers an axis."""
    rank = weight.ndim - 2
    strides, dilations = strides or (1,) * rank, dilations or (1,) * rank
    pads = pads_of(pad_type, pad, x.shape[2:], weight.shape[2:], strides, dilations)
    if symmetric(pads):
        padding = before(pads)
    else:
        limits.check_size([*x.shape[:2], *(size + sum(two) for size, two in zip(x.shape[2:], pads))])
        x, padding = F.pad(x, flat(pads)), (0,) * rank
    function = _CONV[rank]
    if not call.numerics.half_sums:
        return function(x, weight, bias, strides, padding, dilations, groups)
    parts = _channel_parts(x, weight, groups)
    total = numerics.half_sum(function(a, b, None, strides, padding, dilations, groups) for a, b in parts)
    return total if bias is None else total + bias.reshape(-1, *[1] * rank)


def _channel_parts(x: Tensor, weight: Tensor, groups: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Input channels of every group, and their weights, so few that about CHUNK products are summed."""
    own = weight.shape[1]
    step = max(1, numerics.CHUNK // max(1, weight[0, 0].numel()))
    grouped = x.reshape(x.shape[0], groups, own, *x.shape[2:])
    for start in range(0, own, step):
        yield grouped[:, :, start : start + step].flatten(1, 2), weight[:, start : start + step]


@op("conv_quantized")
def conv_quantized(
    x: Tensor,
    weight: Tensor,
    call: Call,
    quantization_type: str,
    quant_scale: Tensor,
    quant_bias: Tensor,
    bias: Tensor | None = None,
    nbits: int = 8,
    strides: Ints = (),
    pad_type: str = "valid",
    pad: Ints = (),
    dilations: Ints = (),
    groups: int = 1,
) -> Tensor:
    """A convolution whose weight is quant_scale weight + quant_bias, one pair for all or one an output channel."""
    if quantization_type != "linear" or nbits != 8:
        found = f"{quantization_type!r} of {nbits} bits"
        raise EngineFailed("run conv_quantized", found, "linear of 8 bits is known; convert the model again")
    shape = (-1, *[1] * (weight.ndim - 1))
    scale, offset = (one.reshape(shape) if one.ndim == 1 else one for one in (quant_scale, quant_bias))
    dense, plus = weight.float() * scale + offset, None if bias is None else bias.float()
    return conv(x, dense, call, plus, strides, pad_type, pad, dilations, groups)


@op("conv_transpose")
def conv_transpose(
    x: Tensor,
    weight: Tensor,
    call: Call,
    bias: Tensor | None = None,
    pad: Ints = (),
    output_shape: Ints | None = None,
    pad_type: str = "valid",
    strides: Ints = (),
    dilations: Ints = (),
    groups: int = 1,
) -> Tensor:
    """The transpose of a convolution, cut to what the padding leaves. Shape: weight (C, O / groups, ...)."""
    rank = weight.ndim - 2
    strides, dilations = strides or (1,) * rank, dilations or (1,) * rank
    whole = [(n - 1) * s + (k - 1) * d + 1 for n, s, k, d in zip(x.shape[2:], strides, weight.shape[2:], dilations)]
    limits.check_size([x.shape[0], weight.shape[1] * groups, *whole])
    wanted = None if output_shape is None else output_shape[2:]
    if pad_type.lower() == "same" and wanted is None:
        wanted = tuple(n * s for n, s in zip(x.shape[2:], strides))
    cut = _cut(pad_type.lower(), pad, whole, wanted)
    limits.check_size([x.shape[0], weight.shape[1] * groups, *(n + sum(c) for n, c in zip(whole, cut))])
    full = _transposed(x, weight, strides, dilations, groups, call)
    if any(any(two) for two in cut):
        full = F.pad(full, flat(cut))
    return full if bias is None else full + bias.reshape(-1, *[1] * rank)


def _transposed(x: Tensor, weight: Tensor, strides: Ints, dilations: Ints, groups: int, call: Call) -> Tensor:
    function, own = _TRANSPOSE[weight.ndim - 2], weight.shape[0] // groups
    if not call.numerics.half_sums:
        return function(x, weight, None, strides, 0, 0, groups, dilations)
    inputs = x.reshape(x.shape[0], groups, own, *x.shape[2:])
    weights = weight.reshape(groups, own, *weight.shape[1:])
    step = max(1, numerics.CHUNK // max(1, weight[0, 0].numel()))
    return numerics.half_sum(
        function(
            inputs[:, :, k : k + step].flatten(1, 2), weights[:, k : k + step].flatten(0, 1), None, strides, 0, 0,
            groups, dilations,
        )
        for k in range(0, own, step)
    )  # fmt: skip


def _cut(pad_type: str, pad: Ints, whole: list[int], wanted: Ints | None) -> tuple[tuple[int, int], ...]:
    """What is taken away (negative) or added at both ends of every axis."""
    if pad_type not in ("valid", "same", "custom"):
        raise EngineFailed("run conv_transpose", f"its pad_type is {pad_type!r}", "convert the model again")
    ends = []
    for axis, size in enumerate(whole):
        first, last = (pad[2 * axis], pad[2 * axis + 1]) if pad_type == "custom" and pad else (0, 0)
        if wanted is not None:
            surplus = size - wanted[axis]
            first = max(surplus, 0) // 2 if pad_type == "same" else first
            last = surplus - first
        ends.append((-first, -last))
    return tuple(ends)
