"""What the tests of recurrent layers share: sizes, activations, and how a result is compared with steps."""

from __future__ import annotations

import numpy as np

S, B, N, H = 5, 2, 3, 4
RNG = np.random.default_rng(9)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


ACT = {
    "sigmoid": sigmoid,
    "tanh": np.tanh,
    "scaled_tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
    "linear": lambda x: x,
    "hard_sigmoid": lambda x: np.clip(0.2 * x + 0.5, 0, 1),
}


def drawn(*shape):
    return RNG.uniform(-1, 1, shape).astype(np.float32)


def checked(found, steps, last, output_sequence):
    """steps: h of every step in the order in which the layer makes them."""
    expected = np.stack(steps) if output_sequence else steps[-1][None]
    np.testing.assert_allclose(found[0], expected, rtol=1e-4, atol=1e-6)
    for part, value in zip(found[1:], last, strict=True):
        np.testing.assert_allclose(part, value, rtol=1e-4, atol=1e-6)


CASES = [
    (direction, sequence, bias)
    for direction in ("forward", "reverse")
    for sequence in (False, True)
    for bias in (False, True)
]
