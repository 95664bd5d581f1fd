"""Several tensors in one, one in several, copies, borders and running sums."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from edgesmith.runtimes.mil.limits import check_size
from edgesmith.runtimes.mil.registry import Ints, Tensor, Tensors, op


@op("concat")
def concat(values: Tensors, axis: int, interleave: bool = False) -> Tensor:
    """One after the other along an axis, or, interleaved, one element of each in turn."""
    if values[0].dim() == 0:
        return torch.stack(values)
    if not interleave:
        return torch.cat(values, axis)
    axis %= values[0].dim()
    return torch.stack(values, axis + 1).flatten(axis, axis + 1)


@op("stack")
def stack(values: Tensors, axis: int) -> Tensor:
    """Side by side along a new axis."""
    return torch.stack(values, axis)


@op("split")
def split(x: Tensor, axis: int, num_splits: int | None = None, split_sizes: Ints | None = None) -> Tensors:
    """Parts of equal size, or of the sizes that are given."""
    if split_sizes is None:
        if not num_splits or x.shape[axis] % num_splits:
            raise ValueError(f"{x.shape[axis]} elements in {num_splits} equal parts")
        split_sizes = (x.shape[axis] // num_splits,) * num_splits
    return torch.split(x, list(split_sizes), axis)


@op("tile")
def tile(x: Tensor, reps: Ints) -> Tensor:
    """So many copies along every axis."""
    check_size([size * count for size, count in zip(x.shape, reps)])
    return x.repeat(reps)


@op("pad")
def pad(x: Tensor, pad: Ints, mode: str = "constant", constant_val: float = 0.0) -> Tensor:
    """Wider by pad[2i] elements before and pad[2i + 1] after, for the last axes.

    Raises: ValueError for a negative pad, an unknown mode, or a reflection of more than there is.
    """
    pairs = list(zip(pad[::2], pad[1::2]))
    if min(pad, default=0) < 0 or len(pad) % 2 or len(pairs) > x.dim():
        raise ValueError(f"pad {pad} of a tensor of rank {x.dim()}")
    first = x.dim() - len(pairs)
    check_size([*x.shape[:first], *(size + sum(pair) for size, pair in zip(x.shape[first:], pairs))])
    if mode == "constant":
        return F.pad(x, [amount for pair in reversed(pairs) for amount in pair], value=constant_val)
    for axis, (before, after) in enumerate(pairs, first):
        if before or after:
            x = x.index_select(axis, _sources(x.shape[axis], before, after, mode))
    return x


def _sources(size: int, before: int, after: int, mode: str) -> Tensor:
    """Where the elements of a widened axis come from."""
    places = torch.arange(-before, size + after)
    if mode == "replicate":
        return places.clamp(0, size - 1)
    if mode != "reflect":
        raise ValueError(f"pad mode {mode!r}: it is constant, reflect or replicate")
    if max(before, after) >= size:
        raise ValueError(f"a reflection of {max(before, after)} elements of {size}")
    places = places.abs()
    return torch.where(places < size, places, 2 * (size - 1) - places)


@op("cumsum")
def cumsum(x: Tensor, axis: int = 0, exclusive: bool = False, reverse: bool = False) -> Tensor:
    """Running sums; exclusive ones leave out the element itself, reversed ones run from the end."""
    if reverse:
        x = x.flip(axis)
    total = x.cumsum(axis)
    if exclusive:
        total = torch.cat([torch.zeros_like(total.narrow(axis, 0, 1)), total.narrow(axis, 0, x.shape[axis] - 1)], axis)
    return total.flip(axis) if reverse else total
