"""Elements written by index: update, add, sub, mul, div, max, min. An index twice meets both writes, one after another.

About indices outside see gathering.py.
"""

from __future__ import annotations

import math

import torch

from edgesmith.runtimes.mil.ops.gathering import checked
from edgesmith.runtimes.mil.registry import Tensor, op

_REDUCE = {"mul": "prod", "max": "amax", "min": "amin"}


def _scattered(data: Tensor, indices: Tensor, updates: Tensor, axis: int, mode: str) -> Tensor:
    """data with updates written along an axis; indices has their shape."""
    updates = updates.to(data.dtype)
    if mode == "update":
        return data.scatter(axis, indices, updates)
    if mode in ("add", "sub"):
        return data.scatter_add(axis, indices, updates if mode == "add" else -updates)
    if mode in _REDUCE:
        return data.scatter_reduce(axis, indices, updates, _REDUCE[mode])
    if mode != "div":
        raise ValueError(f"mode {mode!r}: it is update, add, sub, mul, div, max or min")
    divisor = torch.ones_like(data).scatter_reduce(axis, indices, updates, "prod")
    return data / divisor if data.is_floating_point() else torch.div(data, divisor, rounding_mode="trunc")


@op("scatter")
def scatter(data: Tensor, indices: Tensor, updates: Tensor, axis: int = 0, mode: str = "add") -> Tensor:
    """Whole slices of the axis are written."""
    return scatter_ios17(data, indices, updates, axis, mode)


@op("scatter", since="ios17")
def scatter_ios17(
    data: Tensor, indices: Tensor, updates: Tensor, axis: int = 0, mode: str = "add", validate_indices: bool = False
) -> Tensor:
    """As before, with a check of the indices on demand."""
    axis %= data.dim()
    shape = [*data.shape[:axis], *indices.shape, *data.shape[axis + 1 :]]
    _same(updates, shape)
    places = checked(indices, data.shape[axis], validate_indices).reshape(-1)
    flat = [*data.shape[:axis], len(places), *data.shape[axis + 1 :]]
    column = places.reshape([-1] + [1] * (data.dim() - axis - 1))
    return _scattered(data, column.expand(flat), updates.reshape(flat), axis, mode)


@op("scatter_along_axis")
def scatter_along_axis(data: Tensor, indices: Tensor, updates: Tensor, axis: int = 0, mode: str = "add") -> Tensor:
    """Every element of updates has an index of its own."""
    return scatter_along_axis_ios17(data, indices, updates, axis, mode)


@op("scatter_along_axis", since="ios17")
def scatter_along_axis_ios17(
    data: Tensor, indices: Tensor, updates: Tensor, axis: int = 0, mode: str = "add", validate_indices: bool = False
) -> Tensor:
    """As before, with a check of the indices on demand."""
    _same(updates, list(indices.shape))
    return _scattered(data, checked(indices, data.shape[axis], validate_indices), updates, axis, mode)


@op("scatter_nd")
def scatter_nd(data: Tensor, indices: Tensor, updates: Tensor, mode: str = "add") -> Tensor:
    """The last axis of the indices holds positions on the first axes of data."""
    return scatter_nd_ios17(data, indices, updates, mode)


@op("scatter_nd", since="ios17")
def scatter_nd_ios17(
    data: Tensor, indices: Tensor, updates: Tensor, mode: str = "add", validate_indices: bool = False
) -> Tensor:
    """As before, with a check of the indices on demand."""
    depth = indices.shape[-1]
    _same(updates, [*indices.shape[:-1], *data.shape[depth:]])
    place = torch.zeros(indices.shape[:-1], dtype=torch.int64)
    for column, size in zip(indices.unbind(-1), data.shape):
        place = place * size + checked(column, size, validate_indices)
    rest = math.prod(data.shape[depth:])
    rows, written = data.reshape(-1, rest), updates.reshape(-1, rest)
    return _scattered(rows, place.reshape(-1, 1).expand(-1, rest), written, 0, mode).reshape(data.shape)


def _same(updates: Tensor, shape: list[int]) -> None:
    if list(updates.shape) != shape:
        raise ValueError(f"updates have shape {tuple(updates.shape)}, which must be {tuple(shape)}")
