"""Normalisations against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from tests.runtimes.mil.programs import run_op
from tests.runtimes.mil.versions import each_version

RNG = np.random.default_rng(0)
SHAPES = [(2, 3, 5), (2, 3, 4, 5)]


def numbers(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def normalised(x, axes, epsilon):
    x = x.astype(np.float64)
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + epsilon)


def channels(vector, x):
    return vector.reshape(-1, *[1] * (x.ndim - 2))


@pytest.mark.parametrize(("name", "opset"), each_version("batch_norm"))
@pytest.mark.parametrize("shape", [*SHAPES, (1, 3, 2, 2, 2)])
@pytest.mark.parametrize("affine", [True, False])
def test_batch_norm(name, opset, shape, affine):
    x, mean, variance, gamma, beta = numbers(*shape), numbers(3), numbers(3) ** 2, numbers(3), numbers(3)
    given = {"gamma": gamma, "beta": beta} if affine else {}
    (found,) = run_op(name, {"x": x}, opset, mean=mean, variance=variance, epsilon=1e-2, **given)
    expected = (x - channels(mean, x)) / np.sqrt(channels(variance, x) + 1e-2)
    expected = expected * channels(gamma, x) + channels(beta, x) if affine else expected
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("name", "opset"), each_version("instance_norm"))
@pytest.mark.parametrize("shape", [*SHAPES, (2, 3, 1, 1)])
def test_instance_norm(name, opset, shape):
    x, gamma, beta = numbers(*shape), numbers(3), numbers(3)
    (found,) = run_op(name, {"x": x}, opset, gamma=gamma, beta=beta, epsilon=1e-3)
    expected = normalised(x, tuple(range(2, x.ndim)), 1e-3) * channels(gamma, x) + channels(beta, x)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("name", "opset"), each_version("layer_norm"))
@pytest.mark.parametrize("axes", [[-1], [2, 3], [1], [1, 3], [-3], [0, 1, 2, 3]])
@pytest.mark.parametrize("affine", [True, False])
def test_layer_norm(name, opset, axes, affine):
    x = numbers(2, 3, 4, 5)
    own = sorted(axis % 4 for axis in axes)
    gamma, beta = (numbers(*(x.shape[axis] for axis in own)) for _ in range(2))
    given = {"gamma": gamma, "beta": beta} if affine else {}
    (found,) = run_op(name, {"x": x}, opset, epsilon=1e-3, axes=axes, **given)
    shape = [x.shape[axis] if axis in own else 1 for axis in range(4)]
    expected = normalised(x, tuple(own), 1e-3)
    expected = expected * gamma.reshape(shape) + beta.reshape(shape) if affine else expected
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("name", "opset"), each_version("l2_norm"))
@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 3, 4, 5), (2, 2, 3, 4, 5)])
def test_l2_norm(name, opset, shape):
    x = numbers(*shape)
    (found,) = run_op(name, {"x": x}, opset, epsilon=1e-2)
    expected = x / np.sqrt(np.square(x).sum((-3, -2, -1), keepdims=True) + 1e-2)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "opset"), each_version("local_response_norm"))
@pytest.mark.parametrize("size", [1, 3, 5])
def test_local_response_norm(name, opset, size):
    x = numbers(2, 6, 3, 3)
    (found,) = run_op(name, {"x": x}, opset, size=size, alpha=0.5, beta=0.6, k=2.0)
    padded = np.pad(np.square(x), [(0, 0), (size // 2, (size - 1) // 2), (0, 0), (0, 0)])
    sums = sum(padded[:, k : k + 6] for k in range(size))
    np.testing.assert_allclose(found, x / (2.0 + 0.5 / size * sums) ** 0.6, rtol=1e-5, atol=1e-6)
