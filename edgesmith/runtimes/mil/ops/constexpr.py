"""Compressed weights: each form back to the dense tensor, once, at load.

iOS 16 and 17 pack indices and masks into bytes and say the shape beside them; iOS 18 has types smaller than a byte
(unpacked by blob.py), blocks of any size, and forms that stay sparse so that they can be combined.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from edgesmith.runtimes.mil import limits
from edgesmith.runtimes.mil.blob import packed_bytes, unpack
from edgesmith.runtimes.mil.registry import Ints, Tensor, op


@op("constexpr_affine_dequantize", since="ios16")
def affine_dequantize(quantized_data: Tensor, zero_point: Tensor, scale: Tensor, axis: int) -> Tensor:
    """scale (data - zero_point), with one scale or one an index of the axis."""
    shape = [1] * quantized_data.ndim
    shape[axis] = -1
    zero, factor = (one.float().reshape(shape) if one.ndim else one.float() for one in (zero_point, scale))
    return factor * (quantized_data.float() - zero)


@op("constexpr_blockwise_shift_scale", since="ios18")
def blockwise_shift_scale(data: Tensor, scale: Tensor, offset: Tensor | None = None) -> Tensor:
    """scale (data - offset), where scale and offset have one number a block; block sizes follow from the shapes."""
    shifted = data.float() if offset is None else data.float() - _spread(offset.float(), data)
    return _spread(scale, data) * shifted


def _spread(blocks: Tensor, data: Tensor) -> Tensor:
    """One number a block -> one a value."""
    if blocks.ndim != data.ndim:
        raise ValueError(f"blocks of rank {blocks.ndim} for data of rank {data.ndim}")
    for axis, (whole, count) in enumerate(zip(data.shape, blocks.shape)):
        if count == 0 or whole % count:
            raise ValueError(f"{count} blocks do not divide {whole} values of axis {axis}")
        if count not in (1, whole):
            blocks = blocks.repeat_interleave(whole // count, axis)
    return blocks


@op("constexpr_cast", since="ios16")
def cast(source_val: Tensor, output_dtype: str) -> Tensor:
    """The same numbers in another type; what the program declares is made of it anyway."""
    return source_val


@op("constexpr_lut_to_dense", since="ios16")
def lut_to_dense(indices: Tensor, lut: Tensor, shape: Ints) -> Tensor:
    """Table entries by packed indices of log2(entries) bits each."""
    limits.check_size(shape)
    dtype, count = f"uint{int(math.log2(len(lut)))}", math.prod(shape)
    if 2 ** int(dtype[4:]) != len(lut) or packed_bytes(dtype, count) != len(indices):
        raise ValueError(f"{len(indices)} bytes for {count} indices into {len(lut)} entries")
    places = unpack(indices.numpy(), dtype, count).astype(np.int64)
    return lut[torch.from_numpy(places)].reshape(shape)


@op("constexpr_lut_to_dense", since="ios18")
def lut_to_dense_ios18(indices: Tensor, lut: Tensor, vector_axis: int | None = None) -> Tensor:
    """Table entries by index, a table a block; an entry of several numbers lies along the vector axis.

    Shape: indices (s1, ..., sK), lut (g1, ..., gK, entries, numbers) with each g a divisor of its s.
    """
    if lut.ndim != indices.ndim + 2:
        raise ValueError(f"a table of rank {lut.ndim} for indices of rank {indices.ndim}")
    *groups, entries, numbers = lut.shape
    if any(g == 0 or s % g for s, g in zip(indices.shape, groups)):
        raise ValueError(f"tables of shape {tuple(groups)} do not divide indices of shape {tuple(indices.shape)}")
    table = torch.zeros((), dtype=torch.int64)  # which table each index means, counted in row-major order
    for axis, (size, count) in enumerate(zip(indices.shape, groups)):
        own = torch.arange(size) // (size // count)
        table = table * count + own.reshape(-1, *[1] * (indices.ndim - axis - 1))
    found = lut.reshape(-1, entries, numbers)[table.expand(indices.shape), indices.long()]
    if numbers == 1:
        return found.squeeze(-1)
    axis = _vector_axis(vector_axis, indices.ndim)
    return found.movedim(-1, axis + 1).flatten(axis, axis + 1)


def _vector_axis(axis: int | None, rank: int) -> int:
    if axis is None or not -rank <= axis < rank:
        raise ValueError(f"the vector axis {axis} is none of {rank} axes")
    return axis % rank


@op("constexpr_sparse_to_dense", since="ios16")
def sparse_to_dense(nonzero_data: Tensor, mask: Tensor, shape: Ints) -> Tensor:
    """Zeros but where a bit of the packed mask is set."""
    limits.check_size(shape)
    count = math.prod(shape)
    if packed_bytes("uint1", count) != len(mask):
        raise ValueError(f"{len(mask)} bytes of mask for {count} values")
    return sparse_to_dense_ios18(nonzero_data, torch.from_numpy(unpack(mask.numpy(), "uint1", count)).reshape(shape))


@op("constexpr_sparse_to_dense", since="ios18")
def sparse_to_dense_ios18(nonzero_data: Tensor, mask: Tensor) -> Tensor:
    """Zeros but where the mask is 1."""
    found = int((mask != 0).sum())
    if nonzero_data.ndim != 1 or found != len(nonzero_data):
        raise ValueError(f"the mask has {found} places for values of shape {tuple(nonzero_data.shape)}")
    dense = torch.zeros(mask.shape, dtype=nonzero_data.dtype)
    dense[mask != 0] = nonzero_data
    return dense


@op("constexpr_lut_to_sparse", since="ios18")
def lut_to_sparse(
    indices_mask: Tensor, indices_nonzero_data: Tensor, lut: Tensor, vector_axis: int | None = None
) -> tuple[Tensor, Tensor]:
    """The mask and the table entries of sparse indices."""
    dense = lut_to_dense_ios18(sparse_to_dense_ios18(indices_nonzero_data, indices_mask), lut, vector_axis)
    mask, numbers = indices_mask, lut.shape[-1]
    if numbers > 1:
        mask = mask.repeat_interleave(numbers, _vector_axis(vector_axis, mask.ndim))
    return mask, dense[mask != 0]


@op("constexpr_sparse_blockwise_shift_scale", since="ios18")
def sparse_blockwise_shift_scale(
    data_mask: Tensor, nonzero_data: Tensor, scale: Tensor, offset: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The mask and the dequantized values of sparse data."""
    dense = blockwise_shift_scale(sparse_to_dense_ios18(nonzero_data, data_mask), scale, offset)
    return data_mask, dense[data_mask != 0]
