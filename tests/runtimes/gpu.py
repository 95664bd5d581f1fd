"""A GPU of plain memory, and a TensorRT whose only engine doubles its input: what our own code asks of both."""

from __future__ import annotations

import ctypes
import json
import types
from collections.abc import Callable
from typing import Any

import numpy as np

LAYERS = {"node_scale + PWN(node_relu)": 0.25, "Reformatting CopyNode for Output Tensor 0 to node_scale": 0.125}


class Driver:
    """CUDA's driver as far as it is asked. It counts launches, checks pointers and knows what is being captured."""

    def __init__(self, gpus: int = 1, major: int = 8, minor: int = 6) -> None:
        self.gpus, self.numbers = gpus, {75: major, 76: minor}
        self.memory: dict[int, Any] = {}
        self.handles = 100
        self.capturing: list[Callable[[], None]] | None = None
        self.graphs: dict[int, list[Callable[[], None]]] = {}
        self.launched = 0
        self.open: set[int] = set()

    def work(self, do: Callable[[], None]) -> None:
        do() if self.capturing is None else self.capturing.append(do)

    def cuInit(self, flags: Any) -> int:
        return 0 if self.gpus >= 0 else 100

    def cuDeviceGetCount(self, count: Any) -> int:
        count._obj.value = self.gpus
        return 0

    def cuDeviceGet(self, device: Any, index: Any) -> int:
        return 0

    def cuDevicePrimaryCtxRetain(self, context: Any, device: Any) -> int:
        context._obj.value = 1
        return 0

    def cuCtxSetCurrent(self, context: Any) -> int:
        return 0 if context.value == 1 else 201

    def cuDeviceGetAttribute(self, value: Any, attribute: Any, device: Any) -> int:
        value._obj.value = self.numbers[attribute.value]
        return 0

    def cuMemAlloc_v2(self, pointer: Any, size: Any) -> int:
        buffer = ctypes.create_string_buffer(size.value)
        pointer._obj.value = ctypes.addressof(buffer)
        self.memory[pointer._obj.value] = buffer
        return 0

    def cuMemFree_v2(self, pointer: Any) -> int:
        return 0 if self.memory.pop(pointer.value, None) is not None else 1

    def cuMemcpyHtoDAsync_v2(self, to: Any, source: Any, size: Any, stream: Any) -> int:
        return self._copy(to.value, source.value, size.value, to.value, stream)

    def cuMemcpyDtoHAsync_v2(self, to: Any, source: Any, size: Any, stream: Any) -> int:
        return self._copy(to.value, source.value, size.value, source.value, stream)

    def _copy(self, to: int, source: int, size: int, ours: int, stream: Any) -> int:
        if ours not in self.memory or size > len(self.memory[ours]) or stream.value not in self.open:
            return 1
        ctypes.memmove(to, source, size)
        return 0

    def _new(self, handle: Any) -> int:
        self.handles += 1
        handle._obj.value = self.handles
        self.open.add(self.handles)
        return 0

    def cuStreamCreate(self, stream: Any, flags: Any) -> int:
        return self._new(stream)

    def cuEventCreate(self, event: Any, flags: Any) -> int:
        return self._new(event)

    def _drop(self, handle: Any) -> int:
        self.open.remove(handle.value)
        return 0

    cuStreamDestroy_v2 = cuEventDestroy_v2 = _drop

    def cuStreamSynchronize(self, stream: Any) -> int:
        return 0 if stream.value in self.open and self.capturing is None else 1

    def cuEventRecord(self, event: Any, stream: Any) -> int:
        return 0 if {event.value, stream.value} <= self.open else 1

    def cuEventElapsedTime(self, taken: Any, first: Any, last: Any) -> int:
        taken._obj.value = float(last.value - first.value) / 2
        return 0

    def cuStreamBeginCapture_v2(self, stream: Any, mode: Any) -> int:
        self.capturing = []
        return 0

    def cuStreamEndCapture(self, stream: Any, graph: Any) -> int:
        self.handles += 1
        graph._obj.value = self.handles
        self.graphs[self.handles], self.capturing = self.capturing or [], None
        return 0

    def cuGraphInstantiateWithFlags(self, made: Any, graph: Any, flags: Any) -> int:
        self._new(made)
        self.graphs[made._obj.value] = self.graphs[graph.value]
        return 0

    def cuGraphDestroy(self, graph: Any) -> int:
        return 0 if self.graphs.pop(graph.value, None) is not None else 1

    def cuGraphLaunch(self, graph: Any, stream: Any) -> int:
        for do in self.graphs[graph.value]:
            do()
        self.launched += 1
        return 0

    def cuGraphExecDestroy(self, graph: Any) -> int:
        del self.graphs[graph.value]
        return self._drop(graph)


class Context:
    """Doubles `x` into `y`, both float32, at the addresses it was given."""

    def __init__(self, driver: Driver) -> None:
        self._driver, self.profiler = driver, None
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.places: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shapes[name] = self.shapes["y"] = tuple(shape)
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.shapes[name]

    def set_tensor_address(self, name: str, place: int) -> bool:
        self.places[name] = place
        return place in self._driver.memory

    def execute_async_v3(self, stream: int) -> bool:
        count, places = int(np.prod(self.shapes["x"])), dict(self.places)

        def double() -> None:
            source = (ctypes.c_float * count).from_address(places["x"])
            (ctypes.c_float * count).from_address(places["y"])[:] = [2 * value for value in source]

        self._driver.work(double)
        if self.profiler is not None:
            for name, ms in LAYERS.items():
                self.profiler.report_layer_time(name, ms)
        return stream in self._driver.open


def tensorrt(driver: Driver, refuses: bool = False) -> types.ModuleType:
    """A module that stands for TensorRT 10."""
    tensor = {"Name": "y", "Dimensions": [1, 4], "Format/Datatype": "Row major linear FP32"}
    layer = {"Name": next(iter(LAYERS)), "LayerType": "Scale", "Inputs": [tensor], "Outputs": [tensor]}
    inspector = types.SimpleNamespace(get_engine_information=lambda format: json.dumps({"Layers": [layer]}))
    engine = types.SimpleNamespace(
        create_execution_context=lambda: Context(driver), create_engine_inspector=lambda: inspector
    )
    module = types.ModuleType("tensorrt")
    module.__version__ = "10.7.0"
    module.Logger = type("Logger", (), {"ERROR": 1, "__init__": lambda self, level: None})  # type: ignore[attr-defined]
    module.IProfiler = type("IProfiler", (), {"__init__": lambda self: None})  # type: ignore[attr-defined]
    module.LayerInformationFormat = types.SimpleNamespace(JSON=1)  # type: ignore[attr-defined]
    take = (lambda data: None) if refuses else (lambda data: engine)
    module.Runtime = lambda logger: types.SimpleNamespace(deserialize_cuda_engine=take)  # type: ignore[attr-defined]
    return module
