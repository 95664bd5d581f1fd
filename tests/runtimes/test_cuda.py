from __future__ import annotations

import numpy as np
import pytest

from edgesmith.errors import EngineFailed, MissingResource
from edgesmith.runtimes import cuda
from edgesmith.runtimes.cuda import Cuda
from tests.runtimes.gpu import Driver


def test_the_capability_of_the_gpu() -> None:
    assert Cuda(Driver(major=9, minor=0)).capability() == "9.0"


@pytest.mark.parametrize(("gpus", "words"), [(0, "shows none"), (-1, "does not start")])
def test_no_gpu_is_a_missing_resource(gpus: int, words: str) -> None:
    with pytest.raises(MissingResource, match=words):
        Cuda(Driver(gpus))


def test_no_driver_is_a_missing_resource(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(cuda.ctypes, "CDLL", absent)
    with pytest.raises(MissingResource, match=r"no CUDA driver here \(libcuda"):
        Cuda()


def test_what_was_copied_there_comes_back() -> None:
    gpu = Cuda(Driver())
    stream, array, back = gpu.stream(), np.arange(6, dtype=np.float32), np.zeros(6, np.float32)
    place = gpu.allocate(array.nbytes)
    gpu.upload(place, array, stream)
    gpu.download(back, place, stream)
    gpu.wait(stream)
    np.testing.assert_array_equal(back, array)


def test_a_call_that_fails_names_itself() -> None:
    gpu = Cuda(Driver())
    with pytest.raises(EngineFailed, match=r"call cuMemFree_v2 of the CUDA driver.*status 1"):
        gpu.free(7)


@pytest.mark.needs(gpu=1)
def test_the_real_driver_moves_arrays_and_times_them() -> None:
    gpu = Cuda()
    stream, first, last = gpu.stream(), gpu.event(), gpu.event()
    array, back = np.random.default_rng(0).standard_normal(1 << 20), np.zeros(1 << 20)
    place = gpu.allocate(array.nbytes)
    gpu.record(first, stream)
    gpu.upload(place, array, stream)
    gpu.download(back, place, stream)
    gpu.record(last, stream)
    gpu.wait(stream)
    np.testing.assert_array_equal(back, array)
    assert gpu.elapsed_ms(first, last) > 0 and float(gpu.capability()) >= 5
