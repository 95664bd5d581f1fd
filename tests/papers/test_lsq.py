"""Esser et al. 2020, arXiv 1902.08153: values and gradients of the quantizer, equations 1 to 3 and section 2.2."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edgesmith.compress.quantize.fake_quant import LsqQuantizer, LsqRound
from edgesmith.quant import S8_PER_CHANNEL, U8_AFFINE, EdgeQuant, choose, dequantize, quantize

STEP = 0.5


@pytest.mark.parametrize(
    ("x", "value", "to_x", "to_step"),
    [
        (0.9, 1.0, 1.0, 2 - 1.8),  # inside: round(x / s) - x / s
        (-0.6, -0.5, 1.0, -1 + 1.2),
        (9.0, 3.5, 0.0, 7.0),  # clipped above: Qp
        (-9.0, -4.0, 0.0, -8.0),  # clipped below: -Qn
    ],
)
def test_values_and_gradients_of_four_bits(x: float, value: float, to_x: float, to_step: float) -> None:
    given, step = torch.tensor([x], requires_grad=True), torch.tensor(STEP, requires_grad=True)
    found = LsqRound.apply(given, step, -8, 7, 1.0)
    found.backward()
    assert found.item() == pytest.approx(value)
    assert given.grad is not None and step.grad is not None
    assert (given.grad.item(), step.grad.item()) == pytest.approx((to_x, to_step))


def test_the_gradient_scale_counts_the_values_of_one_sample() -> None:
    """g = 1 / sqrt(N Qp), and of the exponent the gradient is that of the step size relative to it."""
    quantizer = LsqQuantizer(EdgeQuant(U8_AFFINE, np.float32(STEP), np.int64(0)))
    x = torch.full((3, 4, 5), 0.3)  # 0.6 steps: rounded to 1
    quantizer(x).sum().backward()
    raw = 3 * 4 * 5 * (1 - 0.6) / (4 * 5 * 255) ** 0.5
    assert quantizer.exponent.grad is not None
    assert quantizer.exponent.grad.item() == pytest.approx(min(raw / STEP, 1.0), rel=1e-5)


def test_a_channel_has_its_own_gradient_and_it_is_bounded() -> None:
    quantizer = LsqQuantizer(choose(S8_PER_CHANNEL, np.array([-1.0, -2.0]), np.array([1.0, 2.0])))
    weight = torch.tensor([[[0.1234, 5.0]], [[0.1234, 0.4321]]])  # one value far outside
    (0.01 * quantizer(weight)).sum().backward()
    assert quantizer.exponent.grad is not None
    first, second = quantizer.exponent.grad.tolist()
    assert first == 1.0 and 0 < abs(second) < 1


@pytest.mark.parametrize("spec", [U8_AFFINE, S8_PER_CHANNEL])
def test_forward_is_the_vocabularys_quantization(spec) -> None:
    x = torch.randn(6, 40, generator=torch.Generator().manual_seed(0)) * 3
    low, high = (-2.0, 5.0) if spec.axis is None else (np.full(6, -2.0), np.linspace(2, 5, 6))
    quant = choose(spec, low, high)
    wanted = dequantize(quantize(x.numpy(), quant), quant)
    assert np.array_equal(LsqQuantizer(quant)(x).detach().numpy(), wanted)
