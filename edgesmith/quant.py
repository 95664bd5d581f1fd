"""The numbers of quantization: the only place where they are defined.

A plan says, for every edge of a graph, how it is represented. Edges are named by the user's module paths:
"stage1.0.conv:weight", "stage1.0.conv:out", "input:x".
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from edgesmith.errors import UsageError
from edgesmith.records import to_json

# How the ends of a value's grid are found (compress/quantize/clipping.py).
RangeMethod = Literal["minmax", "percentile", "mse", "entropy"]


@dataclass(frozen=True)
class QuantSpec:
    """How integers are laid out: width, sign, symmetry (zero point 0), per-channel axis, narrow range (-127..127)."""

    bits: int = 8
    signed: bool = True
    symmetric: bool = True
    axis: int | None = None
    narrow: bool = False

    @property
    def qmin(self) -> int:
        return -(2 ** (self.bits - 1)) + int(self.narrow) if self.signed else 0

    @property
    def qmax(self) -> int:
        return 2 ** (self.bits - 1) - 1 if self.signed else 2**self.bits - 1


U8_AFFINE = QuantSpec(signed=False, symmetric=False)
S8_AFFINE = QuantSpec(symmetric=False)
S8_SYMMETRIC = QuantSpec(narrow=True)
S8_PER_CHANNEL = QuantSpec(axis=0, narrow=True)


@dataclass(frozen=True)
class EdgeQuant:
    """An edge with numbers of its own. Shape: scale and zero_point () per tensor or (C,) along spec.axis."""

    spec: QuantSpec
    scale: np.ndarray
    zero_point: np.ndarray


@dataclass(frozen=True)
class SameAs:
    """An edge that shares another edge's numbers (pooling, reshape, concat)."""

    edge: str


@dataclass(frozen=True)
class BiasOf:
    """An int32 bias: scale = scale(input) * scale(weight), zero point 0."""

    input: str
    weight: str


@dataclass(frozen=True)
class Histogram:
    """How many values of each size a row saw. Zero has a bin of its own, the others lie around it.

    counts[r, j] belongs to the bin first[r] + j of row r: bin 0 is the value 0, bin i > 0 holds (i - 1) w < x <= i w
    and bin -i the mirror image, with w = width[r].
    Shape: width, first (R,), counts (R, B).
    """

    width: np.ndarray
    first: np.ndarray
    counts: np.ndarray


@dataclass(frozen=True)
class EdgeRange:
    """What calibration saw on one edge. Shape: low, high, mean (C,) per channel (axis 1), or (1,) where there is none.

    A weight has low and high only. seen: how many values a channel had. channels: a histogram with a row a channel;
    tensor: one row for all channels together, with finer bins.
    """

    low: np.ndarray
    high: np.ndarray
    mean: np.ndarray | None = None
    seen: int = 0
    channels: Histogram | None = None
    tensor: Histogram | None = None

    @property
    def bounds(self) -> tuple[float, float]:
        """The range of the whole tensor."""
        return float(np.min(self.low)), float(np.max(self.high))


@dataclass(frozen=True)
class RangeRecord:
    """What one calibration pass saw on the original graph, edge by edge; observe() can go on from it."""

    edges: Mapping[str, EdgeRange]
    samples: int
    data_digest: str = ""
    warning: str = ""


@dataclass(frozen=True)
class QuantPlan:
    """How one family represents every edge, and the precision of each layer.

    Before the edges apply, the folded program is changed by graph/rewrite.py, in this order:
    factors: name of a group of values -> the factor (C,) its channels take (graph/channels.py).
    rewrites: activation path -> the form it must be lowered to.
    bias_shifts: layer path -> what is added to its bias (C,).
    program: digest of the captured model it was derived from, "" where that is not known.
    rounded_up: layer path -> which weights are rounded up and which down, a bit each (np.packbits); others to nearest.
    """

    family: str
    edges: Mapping[str, EdgeQuant | SameAs | BiasOf]
    precision: Mapping[str, str]
    instruction_set: str
    rewrites: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    factors: Mapping[str, np.ndarray] = field(default_factory=dict)
    bias_shifts: Mapping[str, np.ndarray] = field(default_factory=dict)
    program: str = ""
    rounded_up: Mapping[str, np.ndarray] = field(default_factory=dict)

    def digest(self) -> str:
        """A short fingerprint of every number in the plan."""
        return hashlib.sha256(json.dumps(to_json(self), sort_keys=True).encode()).hexdigest()[:16]

    def resolve(self, edge: str) -> EdgeQuant | None:
        """The numbers of an edge, following SameAs; None for a float edge. BiasOf is computed."""
        found = self.edges.get(edge)
        if isinstance(found, SameAs):
            return self.resolve(found.edge)
        if isinstance(found, BiasOf):
            x, w = self.resolve(found.input), self.resolve(found.weight)
            if x is None or w is None:
                return None
            scale = np.asarray(x.scale) * np.asarray(w.scale)
            return EdgeQuant(QuantSpec(bits=32, axis=w.spec.axis), scale, np.zeros(scale.shape, np.int64))
        return found


def choose(spec: QuantSpec, low: np.ndarray | float, high: np.ndarray | float) -> EdgeQuant:
    """Scale and zero point for a range; zero is always representable. Shape: low, high () or (C,)."""
    low = np.minimum(np.asarray(low, np.float64), 0.0)
    high = np.maximum(np.asarray(high, np.float64), 0.0)
    tiny = float(np.finfo(np.float32).eps)
    if spec.symmetric:
        scale = np.maximum(np.maximum(-low, high) / spec.qmax, tiny)
        zero = np.zeros(scale.shape, np.int64)
    else:
        scale = np.maximum((high - low) / (spec.qmax - spec.qmin), tiny)
        zero = np.clip(np.rint(spec.qmin - low / scale), spec.qmin, spec.qmax).astype(np.int64)
    return EdgeQuant(spec, scale.astype(np.float32), zero)


def in_half(quant: EdgeQuant) -> EdgeQuant:
    """The same numbers with the scale a value of fp16, as some files hold it; at most 2^-11 of it is lost."""
    return replace(quant, scale=np.asarray(quant.scale).astype(np.float16).astype(np.float32))


def quantize(x: np.ndarray, quant: EdgeQuant) -> np.ndarray:
    """Real numbers to integers, round half to even. Shape: any; scale broadcast along spec.axis."""
    scale, zero = _shaped(quant, x.ndim)
    integers = np.rint(np.asarray(x, np.float32) / scale) + zero
    return np.clip(integers, quant.spec.qmin, quant.spec.qmax).astype(np.int32)


def rounded(x: np.ndarray, quant: EdgeQuant, up: np.ndarray) -> np.ndarray:
    """x on the grid, each number up or down as `up` says (packed bits, in x's order). Raises: UsageError."""
    if up.size != (x.size + 7) // 8:
        found = f"it says so for {up.size * 8} weights, there are {x.size}"
        raise UsageError("round weights as a plan says", found, "learn the rounding of this model")
    scale, zero = _shaped(quant, x.ndim)
    bits = np.unpackbits(up.astype(np.uint8), count=x.size).reshape(x.shape)
    steps = np.clip(np.asarray(x, np.float32) / scale, quant.spec.qmin - zero, quant.spec.qmax - zero)
    integers = np.clip(np.floor(steps) + zero + bits, quant.spec.qmin, quant.spec.qmax)
    return dequantize(integers, quant)


def dequantize(q: np.ndarray, quant: EdgeQuant) -> np.ndarray:
    """Integers to float32."""
    scale, zero = _shaped(quant, q.ndim)
    return ((q - zero) * scale).astype(np.float32)


def _shaped(quant: EdgeQuant, ndim: int) -> tuple[np.ndarray, np.ndarray]:
    if quant.spec.axis is None or np.ndim(quant.scale) == 0:
        return np.asarray(quant.scale, np.float32), np.asarray(quant.zero_point)
    shape = [1] * ndim
    shape[quant.spec.axis] = -1
    return np.asarray(quant.scale, np.float32).reshape(shape), np.asarray(quant.zero_point).reshape(shape)
