"""Convolutions against sums written out, over kinds of padding, strides, dilations, groups and dimensions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from edgesmith.errors import EngineFailed
from tests.runtimes.mil.programs import run_op
from tests.runtimes.mil.versions import each_version

RNG = np.random.default_rng(0)
SIZES = {1: (7,), 2: (7, 6), 3: (5, 4, 3)}


def numbers(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def reference(x, weight, bias, strides, pads, dilations, groups):
    """A convolution as a sum over the kernel's positions, in float64."""
    x = np.pad(x.astype(np.float64), [(0, 0), (0, 0), *pads])
    rank, per_group = weight.ndim - 2, weight.shape[1]
    reach = [(k - 1) * d + 1 for k, d in zip(weight.shape[2:], dilations)]
    sizes = [(n - r) // s + 1 for n, r, s in zip(x.shape[2:], reach, strides)]
    out = np.zeros((x.shape[0], weight.shape[0], *sizes))
    for position in itertools.product(*(range(k) for k in weight.shape[2:])):
        where = tuple(
            slice(p * d, p * d + (n - 1) * s + 1, s) for p, d, n, s in zip(position, dilations, sizes, strides)
        )
        part = x[(slice(None), slice(None), *where)]
        for o in range(weight.shape[0]):
            first = o // (weight.shape[0] // groups) * per_group
            kernel = weight[(o, slice(None), *position)].reshape(1, -1, *[1] * rank)
            out[:, o] += (part[:, first : first + per_group] * kernel).sum(1)
    return out + bias.reshape(1, -1, *[1] * rank)


@pytest.mark.parametrize(("name", "opset"), each_version("conv"))
@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_custom_padding(name, opset, rank, groups):
    x, weight, bias = numbers(2, 4, *SIZES[rank]), numbers(4, 4 // groups, *(3, 2, 2)[:rank]), numbers(4)
    pads, strides, dilations = [(1, 2), (0, 1), (2, 0)][:rank], (2, 1, 1)[:rank], (1, 2, 1)[:rank]
    (found,) = run_op(
        name, {"x": x}, opset, weight=weight, bias=bias, strides=strides, dilations=dilations, groups=groups,
        pad_type="custom", pad=list(np.ravel(pads)),
    )  # fmt: skip
    np.testing.assert_allclose(
        found, reference(x, weight, bias, strides, pads, dilations, groups), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("pad_type", ["valid", "same", "same_lower"])
@pytest.mark.parametrize(
    ("size", "kernel", "stride"), [(7, 3, 1), (7, 3, 2), (8, 3, 2), (8, 2, 2), (5, 4, 1), (6, 1, 3)]
)
def test_kinds_of_padding(pad_type, size, kernel, stride):
    x, weight = numbers(1, 2, size, size), numbers(3, 2, kernel, kernel)
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0) if pad_type != "valid" else 0
    pair = (total // 2, total - total // 2) if pad_type != "same_lower" else (total - total // 2, total // 2)
    (found,) = run_op("conv", {"x": x}, "ios16", weight=weight, strides=[stride] * 2, pad_type=pad_type)
    expected = reference(x, weight, np.zeros(3), (stride,) * 2, [pair] * 2, (1, 1), 1)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_a_weight_that_is_computed():
    x, weight = numbers(1, 2, 5, 5), numbers(3, 2, 3, 3)
    (found,) = run_op("conv", {"x": x, "weight": weight}, pad_type="valid")
    np.testing.assert_allclose(found, F.conv2d(torch.from_numpy(x), torch.from_numpy(weight)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "opset"), each_version("conv_transpose"))
@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("groups", [1, 2])
def test_transposed_with_custom_padding(name, opset, rank, groups):
    x, weight, bias = numbers(2, 4, *(4, 3, 3)[:rank]), numbers(4, 6 // groups, *(3, 2, 3)[:rank]), numbers(6)
    pads, strides, dilations = [(1, 0), (0, 1), (1, 1)][:rank], (2, 1, 2)[:rank], (1, 2, 1)[:rank]
    (found,) = run_op(
        name, {"x": x}, opset, weight=weight, bias=bias, strides=strides, dilations=dilations, groups=groups,
        pad_type="custom", pad=list(np.ravel(pads)),
    )  # fmt: skip
    function = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}[rank]
    arguments = (torch.from_numpy(one) for one in (x, weight, bias))
    full = function(*arguments, stride=strides, dilation=dilations, groups=groups).numpy()
    cut = tuple(slice(a, n - b) for (a, b), n in zip(pads, full.shape[2:]))
    np.testing.assert_allclose(found, full[(slice(None), slice(None), *cut)], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (2, 2), (4, 2), (1, 3), (3, 1)])
def test_transposed_same_gives_the_gradient_of_same(kernel, stride):
    """SAME transposed is the transpose of the SAME convolution of the larger picture: <conv(y), x> = <y, deconv(x)>."""
    x, weight, y = numbers(1, 2, 4, 4), numbers(2, 3, kernel, kernel), numbers(1, 3, 4 * stride, 4 * stride)
    (up,) = run_op("conv_transpose", {"x": x}, weight=weight, strides=[stride] * 2, pad_type="same")
    (down,) = run_op("conv", {"x": y}, weight=weight, strides=[stride] * 2, pad_type="same")
    assert up.shape == y.shape
    np.testing.assert_allclose((down * x).sum(), (y * up).sum(), rtol=1e-3, atol=1e-4)


def test_transposed_with_an_output_shape_as_torchs_output_padding():
    x, weight, bias = numbers(1, 2, 4, 4), numbers(2, 3, 3, 3), numbers(3)
    (found,) = run_op(
        "conv_transpose", {"x": x}, weight=weight, bias=bias, strides=[2, 2], pad_type="custom", pad=[1, 1, 1, 1],
        output_shape=[1, 3, 8, 8],
    )  # fmt: skip
    arguments = (torch.from_numpy(one) for one in (x, weight, bias))
    expected = F.conv_transpose2d(*arguments, stride=2, padding=1, output_padding=1)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("a_channel", [False, True])
def test_conv_quantized(a_channel):
    x, weight = numbers(1, 2, 4, 4), RNG.integers(0, 256, (3, 2, 2, 2)).astype(np.uint8)
    scale, shift = (numbers(3), numbers(3)) if a_channel else (np.float32(0.1), np.float32(-3))
    (found,) = run_op(
        "conv_quantized", {"x": x}, weight=weight, quantization_type="linear", quant_scale=scale, quant_bias=shift,
        pad_type="valid",
    )  # fmt: skip
    shape = (3, 1, 1, 1) if a_channel else ()
    dense = weight.astype(np.float32) * scale.reshape(shape) + shift.reshape(shape)
    np.testing.assert_allclose(found, F.conv2d(torch.from_numpy(x), torch.from_numpy(dense)), rtol=1e-4, atol=1e-3)


def test_conv_quantized_by_a_table_is_refused():
    x, weight = numbers(1, 2, 4, 4), RNG.integers(0, 256, (3, 2, 2, 2)).astype(np.uint8)
    one = np.float32(1)
    with pytest.raises(EngineFailed, match=r"conv_quantized.*'lut'"):
        run_op("conv_quantized", {"x": x}, weight=weight, quantization_type="lut", quant_scale=one, quant_bias=one)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("name", ["conv", "conv_transpose"])
def test_sums_in_half_precision_are_near_but_not_the_same(name, groups):
    x, weight = numbers(1, 64, 6, 6), numbers(64, 64 // groups, 3, 3)
    exact, half, rough = (
        run_op(name, {"x": x}, mode=mode, weight=weight, pad_type="valid", groups=groups)[0]
        for mode in ("fp32", "fp16", "ane-like")
    )
    np.testing.assert_array_equal(exact, half)  # the program declares float32: only sums are rounded, and in one mode
    np.testing.assert_array_equal(rough, rough.astype(np.float16))
    assert 1e-3 < abs(rough - exact).max() < 0.5
