"""Activations against numpy, in every version of the opsets."""

from __future__ import annotations

import math

import numpy as np
import pytest
from coremltools.converters.mil import Builder as mb

from tests.runtimes.mil.programs import run, run_op
from tests.runtimes.mil.versions import each_version

X = np.concatenate([np.random.default_rng(0).standard_normal(21) * 3, [0.0, -0.0, 40.0]]).astype(np.float32)
X = X.reshape(2, 3, 4)
ERF = np.vectorize(math.erf)


def sigmoid(x):
    return 1 / (1 + np.exp(-x.astype(np.float64)))


WITHOUT = {
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "sigmoid": sigmoid,
    "silu": lambda x: x * sigmoid(x),
    "softplus": lambda x: np.logaddexp(x.astype(np.float64), 0),
    "softsign": lambda x: x / (1 + abs(x)),
}
WITH = {
    "elu": ({"alpha": 0.3}, lambda x: np.where(x > 0, x, 0.3 * np.expm1(x))),
    "leaky_relu": ({"alpha": 0.2}, lambda x: np.where(x > 0, x, 0.2 * x)),
    "thresholded_relu": ({"alpha": 0.7}, lambda x: np.where(x >= 0.7, x, 0)),
    "clamped_relu": ({"alpha": 0.5, "beta": 1.5}, lambda x: np.minimum(np.where(x >= 0, x, 0.5 * x), 1.5)),
    "linear_activation": ({"alpha": 2.0, "beta": -1.0}, lambda x: 2 * x - 1),
    "scaled_tanh": ({"alpha": 2.0, "beta": 0.5}, lambda x: 2 * np.tanh(0.5 * x)),
    "sigmoid_hard": ({"alpha": 0.2, "beta": 0.5}, lambda x: np.clip(0.2 * x + 0.5, 0, 1)),
}
SLOPES, SHIFTS = np.array([0.1, 0.5, 2.0], np.float32), np.array([1.0, 0.3, 2.0], np.float32)


@pytest.mark.parametrize(("name", "opset"), each_version(*WITHOUT))
def test_without_parameters(name, opset):
    np.testing.assert_allclose(run_op(name, {"x": X}, opset)[0], WITHOUT[name](X), rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize(("name", "opset"), each_version(*WITH))
def test_with_parameters(name, opset):
    constants, expected = WITH[name]
    np.testing.assert_allclose(run_op(name, {"x": X}, opset, **constants)[0], expected(X), rtol=2e-6, atol=2e-7)


@pytest.mark.parametrize(("name", "opset"), each_version("gelu"))
@pytest.mark.parametrize("mode", ["EXACT", "TANH_APPROXIMATION", "SIGMOID_APPROXIMATION"])
def test_gelu(name, opset, mode):
    x = X.astype(np.float64)
    expected = {
        "EXACT": 0.5 * x * (1 + ERF(x / math.sqrt(2))),
        "TANH_APPROXIMATION": 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
        "SIGMOID_APPROXIMATION": x * sigmoid(1.702 * x),
    }[mode]
    (found,) = run(lambda x: mb.gelu(x=x, mode=mode), {"x": X}, opset)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "opset"), each_version("prelu"))
def test_prelu_has_a_slope_a_channel(name, opset):
    x = X.reshape(1, 3, 4, 2)
    slopes = SLOPES.reshape(3, 1, 1)
    np.testing.assert_allclose(run_op(name, {"x": x}, opset, alpha=SLOPES)[0], np.where(x > 0, x, slopes * x))


@pytest.mark.parametrize(("name", "opset"), each_version("softplus_parametric"))
def test_softplus_parametric(name, opset):
    x = X.reshape(1, 3, 4, 2).clip(-10, 10)
    a, b = SLOPES.reshape(3, 1, 1), SHIFTS.reshape(3, 1, 1)
    (found,) = run_op(name, {"x": x}, opset, alpha=SLOPES, beta=SHIFTS)
    np.testing.assert_allclose(found, a * np.log1p(np.exp(b * x)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "opset"), each_version("softmax"))
@pytest.mark.parametrize("axis", [0, 1, -1, -2])
def test_softmax(name, opset, axis):
    powers = np.exp(X.astype(np.float64) - X.max(axis, keepdims=True))
    (found,) = run_op(name, {"x": X}, opset, axis=axis)
    np.testing.assert_allclose(found, powers / powers.sum(axis, keepdims=True), rtol=1e-5, atol=1e-12)
