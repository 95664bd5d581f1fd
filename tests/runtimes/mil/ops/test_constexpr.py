"""Compressed weights against coremltools' own decompression, form by form."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
from coremltools.converters.mil import Builder as mb
from coremltools.converters.mil.mil import types

from edgesmith.errors import EngineFailed
from edgesmith.runtimes.mil.ops import constexpr
from tests.runtimes.mil.programs import run

IOS16 = importlib.import_module("coremltools.converters.mil.mil.ops.defs.iOS16.constexpr_ops")
IOS18 = importlib.import_module("coremltools.converters.mil.mil.ops.defs.iOS18.compression")
RNG = np.random.default_rng(0)
ZERO = np.zeros(1, np.float32)


def floats(*shape, dtype=np.float32):
    return RNG.standard_normal(shape).astype(dtype)


def small(bits, *shape):
    """Random numbers of a type smaller than a byte, as coremltools marks them."""
    values = RNG.integers(0, 2**bits, shape)
    return values.astype(types.nptype_from_builtin(types.string_to_builtin(f"uint{bits}")))


def decoded(make, opset):
    """A weight as a program of its own has it, and as the mode fp32 decodes it: it is added to zero."""
    return run(lambda x: mb.add(x=x, y=make()), {"x": ZERO}, opset)[0]


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("axis", [None, 0, -1])
def test_affine(dtype, axis):
    bounds, shape = np.iinfo(dtype), (4, 3, 2)
    data = RNG.integers(bounds.min, bounds.max, shape).astype(dtype)
    count = () if axis is None else (shape[axis],)
    zero, scale = np.array(RNG.integers(0, 20, count), dtype), abs(floats(*count))
    given = {"quantized_data": data, "zero_point": zero, "scale": scale, "axis": axis or 0}
    expected = IOS16.constexpr_affine_dequantize.decompress(data, zero, scale, axis or 0)
    found = decoded(lambda: mb.constexpr_affine_dequantize(**given), "ios16")
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_cast():
    values = floats(4, 3, dtype=np.float16)
    found = decoded(lambda: mb.constexpr_cast(source_val=values, output_dtype="fp32"), "ios16")
    np.testing.assert_array_equal(found, values.astype(np.float32))


@pytest.mark.parametrize("bits", [1, 2, 4, 6, 8])
def test_packed_table_of_ios16(bits):
    shape = np.array([5, 3, 3], np.uint32)
    packed = RNG.integers(0, 256, (45 * bits + 7) // 8).astype(np.uint8)
    lut = floats(2**bits)
    found = decoded(lambda: mb.constexpr_lut_to_dense(indices=packed, lut=lut, shape=shape), "ios16")
    np.testing.assert_array_equal(found, IOS16.constexpr_lut_to_dense.decompress(lut, packed, shape))


def test_packed_mask_of_ios16():
    shape, bits = np.array([5, 3], np.uint32), RNG.random(15) < 0.4
    mask, values = np.packbits(bits, bitorder="little"), floats(int(bits.sum()))
    found = decoded(lambda: mb.constexpr_sparse_to_dense(nonzero_data=values, mask=mask, shape=shape), "ios16")
    expected = np.zeros(15, np.float32)
    expected[bits] = values
    np.testing.assert_array_equal(found, expected.reshape(5, 3))


@pytest.mark.parametrize("dtype", ["int4", "uint4", "int8", "uint8"])
@pytest.mark.parametrize("blocks", [(1, 1), (4, 1), (2, 3), (1, 6)])
@pytest.mark.parametrize("shifted", [True, False])
def test_blocks(dtype, blocks, shifted):
    bits, signed = int(dtype.removeprefix("u")[3:]), not dtype.startswith("u")
    kind = types.nptype_from_builtin(types.string_to_builtin(dtype))
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1)) if signed else (0, 2**bits)
    data = RNG.integers(low, high, (4, 6)).astype(kind)
    scale = floats(*blocks)
    given = {"offset": RNG.integers(max(low, 0), high, blocks).astype(kind)} if shifted else {}
    expected = IOS18.constexpr_blockwise_shift_scale.decompress(data, scale, given.get("offset"))
    found = decoded(lambda: mb.constexpr_blockwise_shift_scale(data=data, scale=scale, **given), "ios18")
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 6, 8])
@pytest.mark.parametrize("groups", [(1, 1), (2, 1), (4, 3), (1, 6)])
@pytest.mark.parametrize(("numbers", "axis"), [(1, None), (2, 0), (3, 1), (2, -1)])
def test_tables_of_ios18(bits, groups, numbers, axis):
    indices, lut = small(bits, 4, 6), floats(*groups, 2**bits, numbers)
    given = {} if axis is None else {"vector_axis": axis}
    expected = IOS18.constexpr_lut_to_dense.decompress(indices, lut, axis)
    found = decoded(lambda: mb.constexpr_lut_to_dense(indices=indices, lut=lut, **given), "ios18")
    np.testing.assert_array_equal(found, expected)


def test_the_example_of_two_tables():
    """The first example in coremltools' documentation of the operation, written out there by hand."""
    kind = types.nptype_from_builtin(types.uint2)
    indices = np.array([[2, 3], [3, 0], [1, 0], [3, 0], [2, 1], [0, 3]]).astype(kind)
    lut = np.array([1.0, 5.0, 9.0, 13.0, 2.0, 10.0, 18.0, 26.0], np.float32).reshape(2, 1, 4, 1)
    found = decoded(lambda: mb.constexpr_lut_to_dense(indices=indices, lut=lut), "ios18")
    np.testing.assert_array_equal(found, [[9, 13], [13, 1], [5, 1], [26, 2], [18, 10], [2, 26]])


def mask_of(*shape):
    return (RNG.random(shape) < 0.5).astype(types.nptype_from_builtin(types.uint1))


@pytest.mark.parametrize(("numbers", "axis"), [(1, None), (2, 0), (2, 1)])
def test_sparse_tables(numbers, axis):
    mask, lut = mask_of(4, 6), floats(2, 1, 4, numbers)
    indices = small(2, int((mask != 0).sum()))
    given = {} if axis is None else {"vector_axis": axis}

    def weight():
        made = mb.constexpr_lut_to_sparse(indices_mask=mask, indices_nonzero_data=indices, lut=lut, **given)
        return mb.constexpr_sparse_to_dense(nonzero_data=made[1], mask=made[0])

    dense = IOS18.constexpr_sparse_to_dense.decompress(
        *reversed(IOS18.constexpr_lut_to_sparse.decompress(mask, indices, lut, axis))
    )
    np.testing.assert_array_equal(decoded(weight, "ios18"), dense)


@pytest.mark.parametrize("shifted", [True, False])
def test_sparse_blocks(shifted):
    mask, scale = mask_of(4, 6), floats(2, 3)
    data = RNG.integers(-100, 100, int((mask != 0).sum())).astype(np.int8)
    given = {"offset": RNG.integers(0, 9, (2, 3)).astype(np.int8)} if shifted else {}

    def weight():
        made = mb.constexpr_sparse_blockwise_shift_scale(data_mask=mask, nonzero_data=data, scale=scale, **given)
        return mb.constexpr_sparse_to_dense(nonzero_data=made[1], mask=made[0])

    decompress = IOS18.constexpr_sparse_blockwise_shift_scale.decompress
    dense = IOS18.constexpr_sparse_to_dense.decompress(*reversed(decompress(mask, data, scale, given.get("offset"))))
    np.testing.assert_allclose(decoded(weight, "ios18"), dense, rtol=1e-6)


def test_a_table_whose_entries_have_scales():
    indices, lut, scale = small(2, 4, 6), RNG.integers(-9, 9, (1, 1, 4, 1)).astype(np.int8), floats(4, 1)

    def weight():
        table = mb.constexpr_lut_to_dense(indices=indices, lut=lut)
        return mb.constexpr_blockwise_shift_scale(data=table, scale=scale)

    expected = lut.reshape(-1)[indices.astype(int)] * scale
    np.testing.assert_allclose(decoded(weight, "ios18"), expected, rtol=1e-6)


def test_in_the_mode_fp16_a_weight_is_what_its_type_holds():
    data, scale = RNG.integers(-100, 100, (4, 6)).astype(np.int8), abs(floats(4, 1, dtype=np.float16))

    def body(x):
        return mb.add(x=x, y=mb.constexpr_blockwise_shift_scale(data=data, scale=scale))

    exact, rounded = (run(body, {"x": ZERO.astype(np.float16)}, "ios18", mode)[0] for mode in ("fp32", "fp16"))
    np.testing.assert_array_equal(exact, data.astype(np.float32) * scale.astype(np.float32))
    np.testing.assert_array_equal(rounded, exact.astype(np.float16))
    assert (rounded != exact).any()


def test_forms_that_do_not_fit_are_refused():
    import torch

    ones = torch.ones
    with pytest.raises(ValueError, match="do not divide"):
        constexpr.blockwise_shift_scale(ones(4, 6), ones(3, 1))
    with pytest.raises(ValueError, match="vector axis"):
        constexpr.lut_to_dense_ios18(torch.zeros(4, dtype=torch.uint8), ones(1, 4, 2))
    with pytest.raises(ValueError, match=r"3 places"):
        constexpr.sparse_to_dense_ios18(ones(2), torch.tensor([1, 1, 0, 1]))
    with pytest.raises(EngineFailed, match="make a tensor"):
        constexpr.lut_to_dense(torch.zeros(1, dtype=torch.uint8), ones(2), (1 << 20, 1 << 20))
