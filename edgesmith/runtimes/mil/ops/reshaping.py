"""The same elements in another shape or order."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from edgesmith.runtimes.mil.registry import Ints, Tensor, Tensors, op


@op("identity")
def identity(x: Tensor) -> Tensor:
    """x."""
    return x


@op("shape")
def shape(x: Tensor) -> Tensor:
    """The sizes of x as a vector."""
    return torch.tensor(x.shape, dtype=torch.int32)


@op("reshape")
def reshape(x: Tensor, shape: Ints) -> Tensor:
    """0 takes the size of x at the same place, -1 what remains."""
    if 0 in shape and len(shape) != x.dim():
        raise ValueError(f"0 in the shape {shape} needs the rank of x, which is {x.dim()}")
    return x.reshape([x.shape[axis] if size == 0 else size for axis, size in enumerate(shape)])


@op("reshape", since="ios17")
def reshape_ios17(x: Tensor, shape: Ints) -> Tensor:
    """0 takes the size of x at the same place counted from the right, and is 1 where x has none."""
    sizes = (*([1] * max(0, len(shape) - x.dim())), *x.shape)[-len(shape) or x.dim() :]
    return x.reshape([old if new == 0 else new for old, new in zip(sizes, shape)])


@op("reshape_like", since="ios16")
def reshape_like(x: Tensor, ref_tensors: Tensors, begins: Tensors, ends: Tensors, end_masks: Tensors) -> Tensor:
    """The shape is made of parts of the shapes of other tensors."""
    sizes: list[int] = []
    for other, begin, end, to_its_end in zip(ref_tensors, begins, ends, end_masks):
        sizes += other.shape[int(begin) :] if to_its_end else other.shape[int(begin) : int(end)]
    return x.reshape(sizes)


@op("expand_dims")
def expand_dims(x: Tensor, axes: Ints) -> Tensor:
    """New axes of size 1, at these places of the result."""
    rank = x.dim() + len(axes)
    for axis in sorted(axis + rank if axis < 0 else axis for axis in axes):
        x = x.unsqueeze(axis)
    return x


@op("squeeze")
def squeeze(x: Tensor, axes: Ints | None = None) -> Tensor:
    """Without these axes, as far as they have size 1; without all of size 1 where none are named."""
    return x.squeeze() if axes is None else x.squeeze(axes)


@op("transpose")
def transpose(x: Tensor, perm: Ints) -> Tensor:
    """The axes in another order."""
    return x.permute(perm)


@op("flatten2d")
def flatten2d(x: Tensor, axis: int = 1) -> Tensor:
    """The axes before `axis` in one, the others in another."""
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


@op("reverse")
def reverse(x: Tensor, axes: Ints | None = None) -> Tensor:
    """Backwards along these axes, or all."""
    return x.flip(tuple(range(x.dim())) if axes is None else axes)


@op("reverse_sequence")
def reverse_sequence(x: Tensor, lengths: Ints, seq_axis: int = 0, batch_axis: int = 0) -> Tensor:
    """The first lengths[b] elements along seq_axis backwards, for every b along batch_axis."""
    last = torch.tensor(lengths)[:, None] - 1
    place = torch.arange(x.shape[seq_axis])[None]
    source = torch.where(place <= last, last - place, place)
    rows = x.movedim((batch_axis, seq_axis), (0, 1))
    turned = rows[torch.arange(len(lengths))[:, None], source]
    return turned.movedim((0, 1), (batch_axis, seq_axis))


@op("sliding_windows")
def sliding_windows(x: Tensor, axis: int, size: int, stride: int = 1) -> Tensor:
    """All windows along an axis; their elements lie on a new axis behind it."""
    axis %= x.dim()
    return x.unfold(axis, size, stride).movedim(-1, axis + 1)


@op("pixel_shuffle")
def pixel_shuffle(x: Tensor, upscale_factor: int) -> Tensor:
    """Channels to space; those of one pixel block lie together."""
    return F.pixel_shuffle(x, upscale_factor)


@op("pixel_unshuffle", since="ios16")
def pixel_unshuffle(x: Tensor, downscale_factor: int) -> Tensor:
    """The inverse of pixel_shuffle."""
    return F.pixel_unshuffle(x, downscale_factor)


@op("depth_to_space")
def depth_to_space(x: Tensor, block_size: int) -> Tensor:
    """Channels to space; the place in the block is the slow part of the channel number."""
    n, c, h, w = x.shape
    b = block_size
    blocks = x.reshape(n, b, b, c // (b * b), h, w)
    return blocks.permute(0, 3, 4, 1, 5, 2).reshape(n, c // (b * b), h * b, w * b)


@op("space_to_depth")
def space_to_depth(x: Tensor, block_size: int) -> Tensor:
    """The inverse of depth_to_space."""
    n, c, h, w = x.shape
    b = block_size
    blocks = x.reshape(n, c, h // b, b, w // b, b)
    return blocks.permute(0, 3, 5, 1, 2, 4).reshape(n, c * b * b, h // b, w // b)


@op("space_to_batch")
def space_to_batch(x: Tensor, block_shape: Ints, paddings: Tensor) -> Tensor:
    """Space to the batch axis, after padding with zeros; the place in the block is the slow part of its number."""
    (top, bottom), (left, right) = paddings.tolist()
    x = F.pad(x, (left, right, top, bottom))
    n, c, h, w = x.shape
    rows, columns = block_shape
    blocks = x.reshape(n, c, h // rows, rows, w // columns, columns)
    return blocks.permute(3, 5, 0, 1, 2, 4).reshape(n * rows * columns, c, h // rows, w // columns)


@op("batch_to_space")
def batch_to_space(x: Tensor, block_shape: Ints, crops: Tensor) -> Tensor:
    """The inverse of space_to_batch, cropped instead of padded."""
    (top, bottom), (left, right) = crops.tolist()
    n, c, h, w = x.shape
    rows, columns = block_shape
    blocks = x.reshape(rows, columns, n // (rows * columns), c, h, w)
    whole = blocks.permute(2, 3, 4, 0, 5, 1).reshape(n // (rows * columns), c, h * rows, w * columns)
    return whole[:, :, top : h * rows - bottom, left : w * columns - right]
