"""What the precision of an artefact alone does to one layer: its intended rounding, simulated on the original."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgesmith.graph.layers import INPUT, Layer, Original
from edgesmith.tensors import Arrays

# Significant bits that a float type keeps. A sum of many products in fp32 is exact to about 20 of its 24 bits.
_BITS = {"fp32": 20, "fp16": 11, "bf16": 8}
DRAWS = 4
Rounding = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Precision:
    """What an artefact is said to compute in.

    weight_bits: of an int8 one, 7 where the processor wants it. widths: path -> width of the grid that a layer shares
    with others (shared.py).
    """

    name: str
    weight_bits: int = 8
    widths: Mapping[str, float] = field(default_factory=dict)


def intended(
    original: Original, layer: Layer, given: Arrays, precision: Precision, factor: np.ndarray | None = None
) -> list[np.ndarray]:
    """A layer on the original's inputs with weights, inputs and result rounded as `precision` wants it, DRAWS times.

    factor: what the artefact multiplies the layer's channels with. The grids of the artefact are not looked at, so
    that a wrong one cannot excuse itself. Each draw has grids of its own, up to a quarter wider than the narrowest:
    one rounding says little about another.
    """
    rng = np.random.default_rng(0)
    scale = np.float32(1) if factor is None else factor
    return [_drawn(original, layer, given, precision, scale, rng) for _ in range(DRAWS)]


def _drawn(
    original: Original, layer: Layer, given: Arrays, precision: Precision, factor: Any, rng: np.random.Generator
) -> np.ndarray:
    if precision.name == "int8":
        weight: Rounding = lambda w: on_grid(w, precision.weight_bits, rng.uniform(1.0, 1.25), axis=0)  # noqa: E731
        value: Rounding = lambda x: x  # noqa: E731
        first: Rounding = lambda x: on_grid(x, 8, rng.uniform(1.0, 1.25))  # noqa: E731
        shared = precision.widths.get(layer.path, 0.0)
        last: Rounding = lambda x: on_grid(x * factor, 8, rng.uniform(1.0, 1.25), width=shared) / factor  # noqa: E731
    else:
        kept = _BITS.get(precision.name, 20)
        weight = value = last = first = lambda x: jittered(x, kept, rng)
    fed = {name: first(array) if name.startswith(INPUT) else array for name, array in given.items()}
    return last(original.alone(layer, fed, _on_tensors(weight), _on_tensors(value)))


def _on_tensors(rounding: Rounding) -> Callable:
    return lambda tensor: tensor.new_tensor(rounding(tensor.detach().numpy()))


def on_grid(x: np.ndarray, bits: int, wider: float, axis: int | None = None, width: float = 0.0) -> np.ndarray:
    """Rounded to a grid over its range: symmetric for each channel of a weight, with a zero point for a value.

    width: of a grid for a value, where it is wider than the range.
    """
    if axis is not None:
        rest = tuple(range(1, x.ndim))
        step = np.abs(x).max(axis=rest, keepdims=True) * wider / (2 ** (bits - 1) - 1)
    else:
        own = max(float(x.max(initial=0.0)), 0.0) - min(float(x.min(initial=0.0)), 0.0)
        step = max(own, width) * wider / (2**bits - 1)
    step = np.maximum(step, np.finfo(np.float32).tiny)
    return (np.rint(x / step) * step).astype(np.float32)


def jittered(x: np.ndarray, bits: int, rng: np.random.Generator) -> np.ndarray:
    """Each number a little off, by up to half a unit in its last of `bits` places."""
    off = rng.uniform(-1.0, 1.0, x.shape).astype(np.float32) * np.float32(2.0**-bits)
    return np.asarray(x * (1 + off), np.float32)
