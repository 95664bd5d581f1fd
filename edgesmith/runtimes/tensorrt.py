"""TensorRT and TensorRT-RTX: engines on the first GPU, memory by CUDA's driver library, numpy in and out.

Source: NVIDIA's TensorRT and TensorRT-RTX documentation, "Python API".
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from edgesmith.artifact import Engine, Exported, engine_system
from edgesmith.errors import EdgesmithError, EngineFailed, MissingPackage
from edgesmith.plugins import missing_package
from edgesmith.runtimes.cuda import Cuda
from edgesmith.runtimes.engine_layers import names_of, read_layers
from edgesmith.runtimes.engines import REBUILD, Here, choose
from edgesmith.runtimes.executed import Told
from edgesmith.runtimes.profile import OperatorTime, Profile, rotated
from edgesmith.runtimes.session import RunOptions, Session, check_run, closed, foreign, must_exist
from edgesmith.tensors import Arrays, TensorSpec

_RUNTIME_CACHE = ".runtime.cache"  # kernels that TensorRT-RTX compiled for this GPU
_PRECISION_OF = {"HALF": "float16", "FLOAT": "float32", "INT8": "int8", "INT32": "int32", "INT64": "int64"}
_PRECISION_OF |= {"UINT8": "uint8", "BOOL": "bool"}


class TensorRTSession:
    """One engine, one context, one stream. With `options.graph` the work of a shape is captured once, then launched."""

    can_tap = False
    can_inject = False

    def __init__(self, exported: Exported, options: RunOptions, trt: Any, cuda: Cuda, engine: Engine) -> None:
        file = exported.root / engine.file
        self._trt, self._cuda, self._options = trt, cuda, options
        self._runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))
        self._vendor: Any = self._runtime.deserialize_cuda_engine(file.read_bytes())
        if self._vendor is None:
            found = f"{trt.__name__} {trt.__version__} does not take it on compute capability {cuda.capability()}"
            raise EngineFailed(f"load {file.name}", found, REBUILD)
        self._cache = exported.root / _RUNTIME_CACHE
        self._context, self._kernels = _context(self._vendor, self._cache)
        self._stream = cuda.stream()
        self._memory: dict[str, tuple[int, int]] = {}
        self._graph: tuple[tuple[tuple[int, ...], ...], int] | None = None
        self.inputs, self.outputs, self.precision = exported.inputs, exported.outputs, exported.precision
        self.engine = f"{trt.__name__} on compute capability {cuda.capability()}"

    def run(self, feed: Arrays, taps: Sequence[str] = (), inject: Arrays | None = None) -> Arrays:
        """The outputs by name, copies to and from the GPU included. Raises: UsageError, EngineFailed."""
        check_run(self, feed, taps, inject)
        if self._vendor is None:
            raise closed(self.engine)
        shapes = self._upload(feed)
        self._enqueue(shapes)
        answer = {}
        for spec in self.outputs:
            answer[spec.name] = np.empty(tuple(self._context.get_tensor_shape(spec.name)), spec.numpy_type)
            self._cuda.download(answer[spec.name], self._memory[spec.name][0], self._stream)
        self._cuda.wait(self._stream)
        return answer

    def device_ms(self, feeds: Sequence[Arrays], runs: int) -> tuple[float, ...]:
        """Milliseconds of the GPU's own work in each of `runs` runs, by events, without copies."""
        first, last, taken = self._cuda.event(), self._cuda.event(), []
        for feed in rotated(feeds, runs):
            shapes = self._upload(feed)
            self._cuda.wait(self._stream)
            self._cuda.record(first, self._stream)
            self._enqueue(shapes)
            self._cuda.record(last, self._stream)
            self._cuda.wait(self._stream)
            taken.append(self._cuda.elapsed_ms(first, last))
        self._cuda.drop_event(first)
        self._cuda.drop_event(last)
        return tuple(taken[-runs:])

    def told(self) -> Told:
        """The engine's layers as its inspector tells them. Raises: EngineFailed."""
        if self._vendor is None:
            raise closed(self.engine)
        return Told(read_layers(self._inspected()), "GPU", "TensorRT's engine inspector")

    def profiled(self, feeds: Sequence[Arrays], runs: int) -> Profile:
        """Times of the layers, by TensorRT's profiler in a context of its own. Raises: EngineFailed."""
        if self._vendor is None:
            raise closed(self.engine)
        known = {layer.names[0]: layer for layer in read_layers(self._inspected())}
        usual, self._context = self._context, self._vendor.create_execution_context()
        self._context.profiler = profiler = _profiler(self._trt)
        taken: list[dict[str, float]] = []
        try:
            for feed in rotated(feeds, runs):
                profiler.taken = {}
                self._execute(self._upload(feed))  # no graph: the profiler sees what is enqueued
                self._cuda.wait(self._stream)
                taken.append(profiler.taken)
        finally:
            self._context = usual
        whole = [sum(run.values()) for run in taken]
        return layer_profile(taken[-runs:], whole[-runs:], {n: (x.names, x.op) for n, x in known.items()})

    def _inspected(self) -> str:
        inspector = self._vendor.create_engine_inspector()
        inspector.execution_context = self._context
        return str(inspector.get_engine_information(self._trt.LayerInformationFormat.JSON))

    def _upload(self, feed: Arrays) -> tuple[tuple[int, ...], ...]:
        shapes = []
        for spec in self.inputs:
            array = np.ascontiguousarray(feed[spec.name])
            self._context.set_input_shape(spec.name, array.shape)
            self._cuda.upload(self._place(spec.name, array.nbytes), array, self._stream)
            shapes.append(array.shape)
        self._cuda.wait(self._stream)  # the arrays may be gone when this returns
        return tuple(shapes)

    def _enqueue(self, shapes: tuple[tuple[int, ...], ...]) -> None:
        if not self._options.graph:
            self._execute(shapes)
            return
        if self._graph is None or self._graph[0] != shapes:
            self._execute(shapes)  # what is compiled or allocated on first use must not be captured
            self._cuda.wait(self._stream)
            self._drop_graph()
            self._cuda.begin_capture(self._stream)
            self._execute(shapes)
            self._graph = (shapes, self._cuda.end_capture(self._stream))
        self._cuda.launch(self._graph[1], self._stream)

    def _execute(self, shapes: tuple[tuple[int, ...], ...]) -> None:
        for spec in self.inputs:
            self._context.set_tensor_address(spec.name, self._memory[spec.name][0])
        for spec in self.outputs:
            shape = tuple(self._context.get_tensor_shape(spec.name))
            size = int(np.prod(shape)) * spec.numpy_type.itemsize
            self._context.set_tensor_address(spec.name, self._place(spec.name, size))
        if not self._context.execute_async_v3(self._stream):
            raise EngineFailed(f"run with {self.engine}", f"it did not start for {shapes}", "see its log")

    def _place(self, name: str, size: int) -> int:
        """Memory for a tensor; a graph that holds an older place is dropped."""
        pointer, there = self._memory.get(name, (0, -1))
        if size > there:
            if there >= 0:
                self._cuda.free(pointer)
            self._drop_graph()
            self._memory[name] = (self._cuda.allocate(size), size)
        return self._memory[name][0]

    def _drop_graph(self) -> None:
        if self._graph is not None:
            self._cuda.drop_graph(self._graph[1])
            self._graph = None

    def __enter__(self) -> TensorRTSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._vendor is None:
            return
        if self._kernels is not None:
            self._cache.write_bytes(bytes(self._kernels.serialize()))
        self._drop_graph()
        for pointer, _ in self._memory.values():
            self._cuda.free(pointer)
        self._cuda.drop_stream(self._stream)
        self._context = self._vendor = self._runtime = self._kernels = None


def layer_profile(
    taken: Sequence[dict[str, float]], whole: Sequence[float], known: dict[str, tuple[tuple[str, ...], str]]
) -> Profile:
    """What the profiler said run by run. known: layer -> its names and kind, by the inspector."""
    names = dict.fromkeys(name for run in taken for name in run)
    operators = []
    for name in names:
        called, kind = known.get(name, (names_of(name), "Reformat" if name.startswith("Reformatting") else "layer"))
        operators.append(OperatorTime(called, kind, tuple(run.get(name, 0.0) for run in taken)))
    return Profile(tuple(operators), tuple(whole), "TensorRT's profiler")


class TensorRTRuntime:
    """NVIDIA TensorRT."""

    name = "tensorrt"

    @staticmethod
    def version() -> str:
        """The version of tensorrt. Raises: MissingPackage."""
        return str(_library("tensorrt").__version__)

    @staticmethod
    def open(exported: Exported, options: RunOptions) -> Session:
        """Load the engine that fits. Raises: MissingPackage, MissingResource, EngineFailed where none fits."""
        return _open("tensorrt", exported, options)

    @staticmethod
    def describe(file: Path) -> Exported:
        """Inputs and outputs as an engine tells them. Raises: MissingPackage, MissingResource, EngineFailed."""
        return _describe("tensorrt", file)

    @staticmethod
    def companions(file: Path) -> tuple[Path, ...]:
        """None: an engine is one file."""
        return ()


class TensorRTRtxRuntime:
    """NVIDIA TensorRT-RTX."""

    name = "tensorrt-rtx"

    @staticmethod
    def version() -> str:
        """The version of tensorrt_rtx. Raises: MissingPackage."""
        return str(_library("tensorrt_rtx").__version__)

    @staticmethod
    def open(exported: Exported, options: RunOptions) -> Session:
        """Load the engine that fits. Raises: MissingPackage, MissingResource, EngineFailed where none fits."""
        return _open("tensorrt_rtx", exported, options)

    @staticmethod
    def describe(file: Path) -> Exported:
        """Inputs and outputs as an engine tells them. Raises: MissingPackage, MissingResource, EngineFailed."""
        return _describe("tensorrt_rtx", file)

    @staticmethod
    def companions(file: Path) -> tuple[Path, ...]:
        """None: an engine is one file."""
        return ()


def here(trt: Any, cuda: Cuda) -> Here:
    """What an engine would be loaded by on this machine."""
    return Here(trt.__name__, str(trt.__version__), cuda.capability(), engine_system())


def _open(module: str, exported: Exported, options: RunOptions) -> Session:
    must_exist(exported.file)
    try:
        trt = _library(module)
        cuda = Cuda()
        return TensorRTSession(exported, options, trt, cuda, choose(exported, here(trt, cuda)))
    except EdgesmithError as error:
        if not exported.fallback:
            raise
        return _instead(exported, options, error.found)


def _instead(exported: Exported, options: RunOptions, why: str) -> Session:
    """The ONNX file by the runtime that was named for it; its engine says that this is not what was asked."""
    from edgesmith.runtimes import RUNTIMES

    other = replace(exported, main=exported.source, runtime=exported.fallback)
    runtime: Any = RUNTIMES.get(exported.fallback)
    session = runtime.open(other, options)
    session.engine = f"{session.engine} instead of an engine ({why})"
    session.version = runtime.version()  # the record names what ran
    return session  # type: ignore[no-any-return]


def _context(engine: Any, cache: Path) -> tuple[Any, Any]:
    """A context, and for TensorRT-RTX the cache of the kernels that it compiles on the device."""
    if not hasattr(engine, "create_runtime_config"):
        return engine.create_execution_context(), None
    config = engine.create_runtime_config()
    if not hasattr(config, "create_runtime_cache"):
        return engine.create_execution_context(), None
    kernels = config.create_runtime_cache()
    if cache.exists():
        kernels.deserialize(cache.read_bytes())  # one of another GPU or version is refused, and stays empty
    config.set_runtime_cache(kernels)
    return engine.create_execution_context(config), kernels


def _profiler(trt: Any) -> Any:
    class Profiler(trt.IProfiler):  # the vendor calls a profiler of its own class
        def __init__(self) -> None:
            trt.IProfiler.__init__(self)
            self.taken: dict[str, float] = {}

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            self.taken[layer_name] = self.taken.get(layer_name, 0.0) + float(ms)

    return Profiler()


def _describe(module: str, file: Path) -> Exported:
    must_exist(file)
    trt, _ = _library(module), Cuda()
    engine = trt.Runtime(trt.Logger(trt.Logger.ERROR)).deserialize_cuda_engine(file.read_bytes())
    if engine is None:
        raise EngineFailed(f"load {file.name}", f"{module} {trt.__version__} does not take it here", "build it here")
    inputs: list[TensorSpec] = []
    outputs: list[TensorSpec] = []
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        shape = tuple(f"{name}_{n}" if size < 0 else size for n, size in enumerate(engine.get_tensor_shape(name)))
        kind = str(engine.get_tensor_dtype(name).name)
        spec = TensorSpec(name, shape, _PRECISION_OF.get(kind, kind.lower()))
        (inputs if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT else outputs).append(spec)
    precision = "fp16" if any(spec.dtype == "float16" for spec in inputs) else "fp32"
    return foreign(module.replace("_", "-"), precision, file, (tuple(inputs), tuple(outputs)))


def _library(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise missing_package(error, f"runtime {module.replace('_', '-')!r}") from error
    except ImportError as error:  # the Python bindings without NVIDIA's shared libraries
        raise MissingPackage(
            f"import {module}", str(error), "install NVIDIA's libraries of the same version"
        ) from error
