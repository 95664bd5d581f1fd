"""CUDA's driver library by ctypes: memory, streams, events and graphs, with numpy alone.

Source: NVIDIA, "CUDA Driver API" (names, argument types, attribute numbers). The primary context is used, which is the
one that libraries on CUDA's runtime API (TensorRT, PyTorch, ONNX Runtime) use as well.
"""

from __future__ import annotations

import ctypes
from ctypes import byref, c_float, c_int, c_size_t, c_uint, c_uint64, c_void_p
from typing import Any

import numpy as np

from edgesmith.errors import EngineFailed, MissingResource

_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_*
_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: does not wait for the default stream
_THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL


def load() -> Any:
    """The driver's library. Raises: MissingResource where there is none."""
    try:
        return ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise MissingResource("use a GPU", f"no CUDA driver here ({error})", "run it where there is one") from error


class Cuda:
    """The first GPU of this machine. Handles are plain integers."""

    def __init__(self, library: Any = None) -> None:
        self._library = load() if library is None else library
        if (status := self._library.cuInit(c_uint(0))) != 0:
            raise MissingResource("use a GPU", f"the CUDA driver does not start (status {status})", "see nvidia-smi")
        count = c_int()
        self._ask("cuDeviceGetCount", byref(count))
        if not count.value:
            raise MissingResource("use a GPU", "the CUDA driver shows none", "see CUDA_VISIBLE_DEVICES")
        device, context = c_int(), c_void_p()
        self._ask("cuDeviceGet", byref(device), c_int(0))
        self._device = device
        self._ask("cuDevicePrimaryCtxRetain", byref(context), device)
        self._ask("cuCtxSetCurrent", context)

    def capability(self) -> str:
        """The compute capability, like "8.6"."""
        numbers = []
        for attribute in (_MAJOR, _MINOR):
            value = c_int()
            self._ask("cuDeviceGetAttribute", byref(value), c_int(attribute), self._device)
            numbers.append(str(value.value))
        return ".".join(numbers)

    def allocate(self, size: int) -> int:
        """Memory on the GPU, in bytes."""
        pointer = c_uint64()
        self._ask("cuMemAlloc_v2", byref(pointer), c_size_t(max(size, 1)))
        return int(pointer.value)

    def free(self, pointer: int) -> None:
        self._ask("cuMemFree_v2", c_uint64(pointer))

    def upload(self, pointer: int, array: np.ndarray, stream: int) -> None:
        """Copy a contiguous array to the GPU."""
        self._ask(
            "cuMemcpyHtoDAsync_v2", c_uint64(pointer), c_void_p(array.ctypes.data), c_size_t(array.nbytes), _p(stream)
        )

    def download(self, array: np.ndarray, pointer: int, stream: int) -> None:
        """Copy into a contiguous array; it is there after `wait`."""
        self._ask(
            "cuMemcpyDtoHAsync_v2", c_void_p(array.ctypes.data), c_uint64(pointer), c_size_t(array.nbytes), _p(stream)
        )

    def stream(self) -> int:
        """A queue of work that waits for no other."""
        return self._made("cuStreamCreate", c_uint(_NON_BLOCKING))

    def wait(self, stream: int) -> None:
        """Until all work of a stream is done."""
        self._ask("cuStreamSynchronize", _p(stream))

    def drop_stream(self, stream: int) -> None:
        self._ask("cuStreamDestroy_v2", _p(stream))

    def event(self) -> int:
        """A point in time on a stream."""
        return self._made("cuEventCreate", c_uint(0))

    def record(self, event: int, stream: int) -> None:
        self._ask("cuEventRecord", _p(event), _p(stream))

    def elapsed_ms(self, first: int, last: int) -> float:
        """Milliseconds between two recorded events that were waited for."""
        taken = c_float()
        self._ask("cuEventElapsedTime", byref(taken), _p(first), _p(last))
        return float(taken.value)

    def drop_event(self, event: int) -> None:
        self._ask("cuEventDestroy_v2", _p(event))

    def begin_capture(self, stream: int) -> None:
        """From here on work of the stream is written down instead of done."""
        self._ask("cuStreamBeginCapture_v2", _p(stream), c_int(_THREAD_LOCAL))

    def end_capture(self, stream: int) -> int:
        """What was written down, ready to be launched as one piece of work."""
        graph = c_void_p()
        self._ask("cuStreamEndCapture", _p(stream), byref(graph))
        try:
            return self._made("cuGraphInstantiateWithFlags", graph, ctypes.c_ulonglong(0))
        finally:
            self._ask("cuGraphDestroy", graph)

    def launch(self, graph: int, stream: int) -> None:
        self._ask("cuGraphLaunch", _p(graph), _p(stream))

    def drop_graph(self, graph: int) -> None:
        self._ask("cuGraphExecDestroy", _p(graph))

    def _made(self, function: str, *arguments: Any) -> int:
        handle = c_void_p()
        self._ask(function, byref(handle), *arguments)
        return int(handle.value or 0)

    def _ask(self, function: str, *arguments: Any) -> None:
        status = getattr(self._library, function)(*arguments)
        if status != 0:
            raise EngineFailed(f"call {function} of the CUDA driver", f"status {status}", "see nvidia-smi and dmesg")


def _p(handle: int) -> c_void_p:
    return c_void_p(handle)
