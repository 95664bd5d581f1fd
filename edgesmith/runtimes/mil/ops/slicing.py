"""Parts of a tensor, and a tensor with a part replaced."""

from __future__ import annotations

import torch

from edgesmith.runtimes.mil.registry import Bools, Ints, Tensor, op


def _ranges(x: Tensor, begin: Ints, end: Ints, stride: Ints | None, masks: tuple[Bools | None, ...]) -> list[range]:
    """The elements along every axis, by the rules of Python's slices.

    masks: of begin, of end, and of axes where only the element at begin is taken.
    """
    rank = x.dim()
    if len(begin) != rank or len(end) != rank:
        raise ValueError(f"begin {begin} and end {end} do not fit rank {rank}")
    steps = stride or (1,) * rank
    from_start, to_end, single = (mask or (False,) * rank for mask in masks)
    found = []
    for axis, size in enumerate(x.shape):
        first = None if from_start[axis] else begin[axis]
        last = None if to_end[axis] or single[axis] else end[axis]
        step = 1 if single[axis] else steps[axis]
        elements = range(size)[slice(first, last, step)]
        if single[axis]:
            if not elements:
                raise IndexError(f"element {first} of axis {axis}, which has {size}")
            elements = elements[:1]
        found.append(elements)
    return found


def _taken(x: Tensor, ranges: list[range]) -> Tensor:
    for axis, elements in enumerate(ranges):
        if elements.step > 0:
            stop = max(elements.start, elements.stop)
            x = x[(slice(None),) * axis + (slice(elements.start, stop, elements.step),)]
        else:  # torch has no negative steps
            x = x.index_select(axis, torch.tensor(elements, dtype=torch.int64))
    return x


@op("slice_by_index")
def slice_by_index(
    x: Tensor,
    begin: Ints,
    end: Ints,
    stride: Ints | None = None,
    begin_mask: Bools | None = None,
    end_mask: Bools | None = None,
    squeeze_mask: Bools | None = None,
) -> Tensor:
    """x[begin:end:stride] along every axis; squeeze_mask takes the element at begin and drops the axis."""
    ranges = _ranges(x, begin, end, stride, (begin_mask, end_mask, squeeze_mask))
    dropped = tuple(axis for axis, drop in enumerate(squeeze_mask or ()) if drop)
    return _taken(x, ranges).squeeze(dropped) if dropped else _taken(x, ranges)


@op("slice_by_size")
def slice_by_size(x: Tensor, begin: Ints, size: Ints) -> Tensor:
    """size[i] elements from begin[i] on along every axis; -1 takes all that remain."""
    for axis, (first, count) in enumerate(zip(begin, size)):
        first = first + x.shape[axis] if first < 0 else first
        x = x.narrow(axis, first, x.shape[axis] - first if count == -1 else count)
    return x


@op("slice_update", since="ios18")
def slice_update(
    x: Tensor,
    update: Tensor,
    begin: Ints,
    end: Ints,
    stride: Ints | None = None,
    begin_mask: Bools | None = None,
    end_mask: Bools | None = None,
    squeeze_mask: Bools | None = None,
) -> Tensor:
    """x with the elements that slice_by_index would take replaced."""
    ranges = _ranges(x, begin, end, stride, (begin_mask, end_mask, squeeze_mask))
    kept = [len(r) for axis, r in enumerate(ranges) if not (squeeze_mask and squeeze_mask[axis])]
    if list(update.shape) != kept:
        raise ValueError(f"the update has shape {tuple(update.shape)}, and the slice {tuple(kept)}")
    where = torch.meshgrid(*(torch.tensor(r, dtype=torch.int64) for r in ranges), indexing="ij")
    result = x.clone()
    result[where] = update.reshape([len(r) for r in ranges])
    return result


@op("crop")
def crop(x: Tensor, crop_height: Ints, crop_width: Ints) -> Tensor:
    """Without so many rows at the top and bottom, and columns at the left and right."""
    (top, bottom), (left, right) = crop_height, crop_width
    return x[..., top : x.shape[-2] - bottom, left : x.shape[-1] - right]


@op("band_part")
def band_part(x: Tensor, lower: int = -1, upper: int = -1) -> Tensor:
    """Zero outside a band around the diagonal of the two last axes; -1 keeps everything on that side."""
    row = torch.arange(x.shape[-2])[:, None]
    column = torch.arange(x.shape[-1])[None]
    kept = ((row - column <= lower) | (lower < 0)) & ((column - row <= upper) | (upper < 0))
    return torch.where(kept, x, torch.zeros((), dtype=x.dtype))
