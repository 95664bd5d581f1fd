"""The weight file: the same numbers as coremltools' own reader, and what is damaged is refused."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from coremltools.libmilstoragepython import _BlobStorageReader, _BlobStorageWriter

from edgesmith.errors import DamagedArtifact
from edgesmith.runtimes.mil.blob import WeightFile

RNG = np.random.default_rng(0)
INTEGERS = {f"{sign}int{bits}": np.dtype(f"{sign}int{bits}") for sign in ("", "u") for bits in (8, 16, 32)}
SMALL = {"uint1": 1, "uint2": 2, "uint3": 3, "uint4": 4, "uint6": 6}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A file with 23 values of every type: where each lies, and the values."""
    path, places = tmp_path_factory.mktemp("blob") / "weight.bin", {}
    writer = _BlobStorageWriter(str(path))
    for name, dtype in INTEGERS.items():
        bounds = np.iinfo(dtype)
        values = RNG.integers(bounds.min, bounds.max, 23, dtype=dtype, endpoint=True)
        places[name] = (getattr(writer, f"write_{name}_data")(values), values)
    for name, bits in SMALL.items():
        values = RNG.integers(0, 2**bits, 23).astype(np.uint8)
        places[name] = (getattr(writer, f"write_{name}_data")(values), values)
    values = RNG.integers(-8, 8, 23).astype(np.int8)
    places["int4"] = (writer.write_int4_data(values), values)
    values = RNG.standard_normal(23).astype(np.float32)
    places["fp32"] = (writer.write_float_data(values), values)
    half = values.astype(np.float16)
    places["fp16"] = (writer.write_fp16_data(half.view(np.uint16)), half)
    del writer
    return path, places


@pytest.mark.parametrize("dtype", [*INTEGERS, *SMALL, "int4", "fp32", "fp16"])
def test_every_type_is_read_as_coremltools_reads_it(written, dtype):
    path, places = written
    offset, values = places[dtype]
    found = WeightFile(path).read(offset, dtype, 23, "w")
    np.testing.assert_array_equal(found, values)
    name = {"fp32": "float", "fp16": "fp16"}.get(dtype, dtype)
    theirs = np.asarray(getattr(_BlobStorageReader(str(path)), f"read_{name}_data")(offset))
    np.testing.assert_array_equal(found, theirs.view(np.float16) if dtype == "fp16" else theirs)


def test_what_does_not_fit_is_refused(written):
    path, places = written
    file, offset = WeightFile(path), places["fp32"][0]
    wrong = [(offset + 1, "fp32", 23), (0, "fp32", 23), (offset + 64, "fp32", 23), (1 << 62, "fp32", 23)]
    wrong += [(offset, "fp16", 23), (offset, "fp32", 24), (offset, "fp32", 22)]
    for place, dtype, count in wrong:
        with pytest.raises(DamagedArtifact, match=r"read 'w' from weight\.bin"):
            file.read(place, dtype, count, "'w'")


def test_data_beyond_the_end_are_refused(written, tmp_path):
    path, places = written
    raw, offset = bytearray(path.read_bytes()), places["fp32"][0]
    raw[offset + 16 : offset + 24] = struct.pack("<Q", len(raw) - 8)
    (tmp_path / "weight.bin").write_bytes(raw)
    with pytest.raises(DamagedArtifact, match="92 bytes at"):
        WeightFile(tmp_path / "weight.bin").read(offset, "fp32", 23, "w")
    (tmp_path / "empty.bin").touch()
    with pytest.raises(DamagedArtifact, match=r"empty\.bin"):
        WeightFile(tmp_path / "empty.bin")
