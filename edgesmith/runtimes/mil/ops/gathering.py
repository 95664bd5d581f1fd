"""Elements picked by index.

Until iOS 16 negative indices count from the end. From iOS 17 on they, and those beyond the end, are undefined unless
`validate_indices` makes them an error. Here negative ones count from the end in every version, and an index
beyond either end is always an error: an answer that is made up helps nobody.
"""

from __future__ import annotations

import torch

from edgesmith.runtimes.mil.registry import Tensor, op


def checked(indices: Tensor, size: int, validate: bool = False) -> Tensor:
    """Indices of an axis as int64 from 0 to size - 1. Raises: IndexError naming the first that does not fit."""
    indices = indices.long()
    wrong = (indices >= size) | (indices < (0 if validate else -size))
    if wrong.any():
        raise IndexError(f"index {int(indices[wrong][0])} of an axis of {size} elements")
    return torch.where(indices < 0, indices + size, indices)


@op("gather")
def gather(x: Tensor, indices: Tensor, axis: int = 0) -> Tensor:
    """x at the indices along an axis, which the axes of the indices replace."""
    return gather_ios17(x, indices, axis)


@op("gather", since="ios16")
def gather_ios16(x: Tensor, indices: Tensor, axis: int = 0, batch_dims: int = 0) -> Tensor:
    """The first batch_dims axes of x and of the indices belong together."""
    return gather_ios17(x, indices, axis, batch_dims)


@op("gather", since="ios17")
def gather_ios17(
    x: Tensor, indices: Tensor, axis: int = 0, batch_dims: int = 0, validate_indices: bool = False
) -> Tensor:
    """K = D[:axis] + N[batch_dims:] + D[axis + 1:] for shapes D of x and N of the indices."""
    axis %= x.dim()
    indices = checked(indices, x.shape[axis], validate_indices)
    if batch_dims == 0:
        picked = x.index_select(axis, indices.reshape(-1))
        return picked.reshape(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])
    rows = x.movedim(axis, batch_dims)
    found = rows[(*_batch(indices, batch_dims), indices)]
    # The new axes stand behind the batch; those of x before `axis` belong before them.
    new, before = indices.dim() - batch_dims, axis - batch_dims
    first = batch_dims
    return found.movedim(tuple(range(first, first + new)), tuple(range(first + before, first + before + new)))


def _batch(indices: Tensor, batch_dims: int) -> list[Tensor]:
    """For every batch axis its own number, in a shape that is broadcast to the indices."""
    grids = []
    for dim in range(batch_dims):
        shape = [1] * indices.dim()
        shape[dim] = indices.shape[dim]
        grids.append(torch.arange(indices.shape[dim]).reshape(shape))
    return grids


@op("gather_along_axis")
def gather_along_axis(x: Tensor, indices: Tensor, axis: int = 0) -> Tensor:
    """The result has the shape of the indices: each says where along the axis its element comes from."""
    return gather_along_axis_ios17(x, indices, axis)


@op("gather_along_axis", since="ios17")
def gather_along_axis_ios17(x: Tensor, indices: Tensor, axis: int = 0, validate_indices: bool = False) -> Tensor:
    """As before, with a check of the indices on demand."""
    return torch.gather(x, axis, checked(indices, x.shape[axis], validate_indices))


@op("gather_nd")
def gather_nd(x: Tensor, indices: Tensor) -> Tensor:
    """The last axis of the indices holds positions on the first axes of x."""
    return gather_nd_ios17(x, indices)


@op("gather_nd", since="ios16")
def gather_nd_ios16(x: Tensor, indices: Tensor, batch_dims: int = 0) -> Tensor:
    """The first batch_dims axes of x and of the indices belong together."""
    return gather_nd_ios17(x, indices, batch_dims)


@op("gather_nd", since="ios17")
def gather_nd_ios17(x: Tensor, indices: Tensor, batch_dims: int = 0, validate_indices: bool = False) -> Tensor:
    """V = K[:-1] + D[batch_dims + K[-1]:] for shapes D of x and K of the indices."""
    columns = indices.unbind(-1)
    sizes = x.shape[batch_dims : batch_dims + len(columns)]
    if len(sizes) != len(columns):
        raise ValueError(f"positions of {len(columns)} numbers behind {batch_dims} axes in rank {x.dim()}")
    where = [checked(column, size, validate_indices) for column, size in zip(columns, sizes)]
    return x[(*_batch(where[0], batch_dims), *where)]
