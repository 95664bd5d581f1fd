"""Reductions over axes, and the positions of the largest and the smallest value."""

from __future__ import annotations

from collections.abc import Callable

import torch

from edgesmith.runtimes.mil.registry import Ints, Tensor, op

_Reduce = Callable[[Tensor, Ints, bool], Tensor]


def _product(x: Tensor, axes: Ints, keep: bool) -> Tensor:
    for axis in sorted((axis % x.dim() for axis in axes), reverse=True):
        x = x.prod(axis, keepdim=keep)
    return x


def _mean(x: Tensor, axes: Ints, keep: bool) -> Tensor:
    return _real(x).mean(axes, keep)


def _real(x: Tensor) -> Tensor:
    """Integers in float64: float32 cannot hold them all."""
    return x if x.is_floating_point() else x.double()


_REDUCTIONS: dict[str, _Reduce] = {
    "reduce_l1_norm": lambda x, axes, keep: x.abs().sum(axes, keep),
    "reduce_l2_norm": lambda x, axes, keep: _real(x).square().sum(axes, keep).sqrt(),
    "reduce_log_sum": lambda x, axes, keep: _real(x).sum(axes, keep).log(),
    "reduce_log_sum_exp": lambda x, axes, keep: torch.logsumexp(_real(x), axes, keep),
    "reduce_max": torch.amax,
    "reduce_mean": _mean,
    "reduce_min": torch.amin,
    "reduce_prod": _product,
    "reduce_sum": lambda x, axes, keep: x.sum(axes, keep),
    "reduce_sum_square": lambda x, axes, keep: x.square().sum(axes, keep),
}


def _register(name: str, reduce: _Reduce) -> None:
    @op(name)
    def reduction(x: Tensor, axes: Ints | None = None, keep_dims: bool = False) -> Tensor:
        if axes is None:
            axes = tuple(range(x.dim()))
        if not axes:  # torch would take no axes for all of them
            return reduce(x[..., None], (-1,), False)
        return reduce(x, axes, keep_dims)


for _name, _reduce in _REDUCTIONS.items():
    _register(_name, _reduce)


@op("reduce_argmax")
def reduce_argmax(x: Tensor, axis: int = -1, keep_dims: bool = False) -> Tensor:
    """The first position of the largest value."""
    return x.argmax(axis, keep_dims)


@op("reduce_argmin")
def reduce_argmin(x: Tensor, axis: int = -1, keep_dims: bool = False) -> Tensor:
    """The first position of the smallest value."""
    return x.argmin(axis, keep_dims)


@op("reduce_argmax", since="ios17")
def reduce_argmax_ios17(x: Tensor, axis: int = -1, keep_dims: bool = False, output_dtype: str = "int32") -> Tensor:
    """From iOS 17 on the result may be uint16, which the plan converts it to."""
    return x.argmax(axis, keep_dims)


@op("reduce_argmin", since="ios17")
def reduce_argmin_ios17(x: Tensor, axis: int = -1, keep_dims: bool = False, output_dtype: str = "int32") -> Tensor:
    """From iOS 17 on the result may be uint16, which the plan converts it to."""
    return x.argmin(axis, keep_dims)
