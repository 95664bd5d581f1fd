"""Elementwise operations of one and of two tensors, and the cast between types."""

from __future__ import annotations

from collections.abc import Callable

import torch

from edgesmith.errors import EngineFailed
from edgesmith.runtimes.mil.registry import Tensor, op
from edgesmith.runtimes.mil.types import CARRIER

# What `cast` may be told, with the name of the type it means.
_CAST_NAMES = {"float32": "fp32", "float16": "fp16", "double": "fp64", "fp64": "fp64"}


def _exp2(x: Tensor) -> Tensor:
    """Exact for integers: float32 may give 7.9999995, and a later truncation 7."""
    return torch.exp2(x) if x.is_floating_point() else torch.exp2(x.double()).round()


def _real_div(x: Tensor, y: Tensor) -> Tensor:
    """Integers are divided as real numbers; the plan drops the fraction where the result is declared an integer."""
    return x / y if x.is_floating_point() or y.is_floating_point() else x.double() / y.double()


_UNARY: dict[str, Callable[[Tensor], Tensor]] = {
    "abs": torch.abs,
    "acos": torch.acos,
    "asin": torch.asin,
    "atan": torch.atan,
    "atanh": torch.atanh,
    "ceil": torch.ceil,
    "cos": torch.cos,
    "cosh": torch.cosh,
    "erf": torch.erf,
    "exp": torch.exp,
    "exp2": _exp2,
    "floor": torch.floor,
    "logical_not": torch.logical_not,
    "round": torch.round,  # half to even
    "sign": torch.sign,
    "sin": torch.sin,
    "sinh": torch.sinh,
    "sqrt": torch.sqrt,
    "square": torch.square,
    "tan": torch.tan,
    "tanh": torch.tanh,
}

_BINARY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add": torch.add,
    "equal": torch.eq,
    "floor_div": torch.floor_divide,
    "greater": torch.gt,
    "greater_equal": torch.ge,
    "less": torch.lt,
    "less_equal": torch.le,
    "logical_and": torch.logical_and,
    "logical_or": torch.logical_or,
    "logical_xor": torch.logical_xor,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "mod": torch.remainder,  # the sign of the divisor, as in Python
    "mul": torch.mul,
    "not_equal": torch.ne,
    "pow": torch.pow,
    "real_div": _real_div,
    "sub": torch.sub,
}


def _register_unary(name: str, compute: Callable[[Tensor], Tensor]) -> None:
    @op(name)
    def unary(x: Tensor) -> Tensor:
        return compute(x)


def _register_binary(name: str, compute: Callable[[Tensor, Tensor], Tensor]) -> None:
    @op(name)
    def binary(x: Tensor, y: Tensor) -> Tensor:
        return compute(x, y)


for _name, _one in _UNARY.items():
    _register_unary(_name, _one)
for _name, _two in _BINARY.items():
    _register_binary(_name, _two)


@op("cast")
def cast(x: Tensor, dtype: str) -> Tensor:
    """To another type: floats lose their fraction, integers wrap; whether fp16 is rounded is the mode's affair."""
    name = _CAST_NAMES.get(dtype, dtype)
    if name not in CARRIER:
        raise EngineFailed(f"cast to {dtype!r}", "no such type", f"it is one of {', '.join(CARRIER)}")
    if name in ("uint16", "uint32"):  # carried by a wider type, which would not wrap
        whole = x.long() % (1 << int(name[4:]))
        return whole.to(CARRIER[name])
    return x.to(CARRIER[name])


@op("clip")
def clip(x: Tensor, alpha: float, beta: float) -> Tensor:
    """Between alpha and beta; beta wins where alpha is the larger one."""
    return torch.clamp(x, alpha, beta)


@op("clip", since="ios17")
def clip_ios17(x: Tensor, alpha: float, beta: float) -> Tensor:
    """From iOS 17 on alpha must be below beta. Raises: EngineFailed."""
    if not alpha < beta:
        raise EngineFailed(f"clip to [{alpha}, {beta}]", "alpha is not below beta", "swap them")
    return torch.clamp(x, alpha, beta)


@op("inverse")
def inverse(x: Tensor, epsilon: float = 1e-4) -> Tensor:
    """1 / (x + epsilon)."""
    return 1 / (x + epsilon)


@op("log")
def log(x: Tensor, epsilon: float = 1e-45) -> Tensor:
    """The natural logarithm of x + epsilon."""
    return torch.log(x + epsilon)


@op("rsqrt")
def rsqrt(x: Tensor, epsilon: float = 1e-12) -> Tensor:
    """1 / sqrt(x + epsilon)."""
    return torch.rsqrt(x + epsilon)


@op("threshold")
def threshold(x: Tensor, alpha: float) -> Tensor:
    """At least alpha."""
    return torch.clamp(x, min=alpha)


@op("select")
def select(cond: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """a where cond holds, else b; all three are broadcast."""
    return torch.where(cond, a, b)
