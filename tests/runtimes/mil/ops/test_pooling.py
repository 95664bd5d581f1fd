"""Pooling against windows looked at one by one."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from tests.runtimes.mil.programs import run_op

RNG = np.random.default_rng(0)


def numbers(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def windows(x, kernel, strides, pads, ceil_mode):
    """What lies in each window, and how many places it has inside the padded picture."""
    sizes = []
    for n, k, s, (a, b) in zip(x.shape[2:], kernel, strides, pads):
        count = math.floor((n + a + b - k + (s - 1 if ceil_mode else 0)) / s) + 1
        if ceil_mode and (count - 1) * s >= n + a and a + b > 0:
            count -= 1
        sizes.append(count)
    for place in itertools.product(*(range(n) for n in sizes)):
        where, places = [], 1
        for p, n, k, s, (a, b) in zip(place, x.shape[2:], kernel, strides, pads):
            first = p * s - a
            where.append(slice(max(first, 0), min(first + k, n)))
            places *= min(first + k, n + b) - first
        yield place, x[(slice(None), slice(None), *where)].reshape(*x.shape[:2], -1), places
    return


def pooled(kind, x, kernel, strides, pads, ceil_mode=False, exclude=False):
    found = {}
    for place, inside, places in windows(x.astype(np.float64), kernel, strides, pads, ceil_mode):
        found[place] = {
            "max_pool": lambda v, n: v.max(-1),
            "avg_pool": lambda v, n: v.sum(-1) / (v.shape[-1] if exclude else n),
            "l2_pool": lambda v, n: np.sqrt(np.square(v).sum(-1)),
        }[kind](inside, places)
    sizes = np.array(list(found)).max(0) + 1
    return np.stack(list(found.values()), -1).reshape(*x.shape[:2], *sizes)


SIZES, KERNELS, STRIDES = {1: (9,), 2: (7, 8), 3: (5, 4, 6)}, (3, 2, 2), (2, 1, 2)
RANKS = [("max_pool", 1), ("max_pool", 2), ("max_pool", 3), ("avg_pool", 1), ("avg_pool", 2), ("avg_pool", 3)]
RANKS += [("l2_pool", 1), ("l2_pool", 2)]


@pytest.mark.parametrize(("kind", "rank"), RANKS)
@pytest.mark.parametrize("pads", ["none", "symmetric", "uneven"])
def test_custom_padding(kind, rank, pads):
    x, kernel, strides = numbers(2, 3, *SIZES[rank]), KERNELS[:rank], STRIDES[:rank]
    by = {"none": [(0, 0)] * 3, "symmetric": [(1, 1)] * 3, "uneven": [(2, 0), (0, 1), (1, 0)]}[pads][:rank]
    (found,) = run_op(kind, {"x": x}, kernel_sizes=kernel, strides=strides, pad_type="custom", pad=list(np.ravel(by)))
    np.testing.assert_allclose(found, pooled(kind, x, kernel, strides, by), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["max_pool", "avg_pool", "l2_pool"])
@pytest.mark.parametrize("pad_type", ["valid", "same", "same_lower"])
@pytest.mark.parametrize(("size", "kernel", "stride"), [(7, 3, 2), (8, 3, 2), (5, 2, 1), (6, 4, 4)])
def test_kinds_of_padding(kind, pad_type, size, kernel, stride):
    x = numbers(1, 2, size, size)
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0) if pad_type != "valid" else 0
    pair = (total // 2, total - total // 2) if pad_type != "same_lower" else (total - total // 2, total // 2)
    (found,) = run_op(kind, {"x": x}, kernel_sizes=[kernel] * 2, strides=[stride] * 2, pad_type=pad_type)
    expected = pooled(kind, x, (kernel,) * 2, (stride,) * 2, [pair] * 2)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["max_pool", "avg_pool", "l2_pool"])
@pytest.mark.parametrize("pads", [[(0, 0), (0, 0)], [(1, 1), (1, 1)]])
@pytest.mark.parametrize("size", [(7, 8), (6, 9)])
def test_ceil_mode(kind, pads, size):
    x = numbers(1, 2, *size)
    options = {"pad_type": "custom", "pad": list(np.ravel(pads)), "ceil_mode": True}
    (found,) = run_op(kind, {"x": x}, kernel_sizes=[3, 3], strides=[2, 2], **options)
    np.testing.assert_allclose(found, pooled(kind, x, (3, 3), (2, 2), pads, True), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("pads", [[(1, 1), (1, 1)], [(2, 0), (0, 1)]])
def test_an_average_without_the_padding(pads):
    x = numbers(1, 2, 7, 8)
    options = {"pad_type": "custom", "pad": list(np.ravel(pads)), "exclude_padding_from_average": True}
    (found,) = run_op("avg_pool", {"x": x}, kernel_sizes=[3, 3], strides=[2, 2], **options)
    expected = pooled("avg_pool", x, (3, 3), (2, 2), pads, exclude=True)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
