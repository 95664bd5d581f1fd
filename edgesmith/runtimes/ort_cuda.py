"""ONNX Runtime's CUDA provider: inputs and outputs bound to the GPU's memory, work on a stream of ours.

Source: ONNX Runtime documentation, "CUDA Execution Provider" (user_compute_stream, enable_cuda_graph), "I/O Binding".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import onnxruntime

from edgesmith.artifact import Exported
from edgesmith.errors import MissingResource
from edgesmith.runtimes.cuda import Cuda
from edgesmith.runtimes.executed import Told
from edgesmith.runtimes.ort import OrtRuntime, Providers, open_session, profile_of, told_of
from edgesmith.runtimes.profile import Profile, rotated
from edgesmith.runtimes.session import RunOptions, check_run, closed, must_exist, owned, refused
from edgesmith.tensors import Arrays

PROVIDER = "CUDAExecutionProvider"


class OrtCudaSession:
    """One session on a provider. Values of a shape stay bound: a captured graph needs the same memory again.

    gpu: None with a provider on the processor, where only the binding is to be seen.
    """

    can_tap = False
    can_inject = False

    def __init__(self, exported: Exported, options: RunOptions, gpu: Cuda | None, provider: str = PROVIDER) -> None:
        self._file, self._options, self._gpu, self._provider = exported.file, options, gpu, provider
        self._stream = gpu.stream() if gpu is not None else 0
        self._vendor: Any = open_session(str(exported.file), options, self._providers())
        if self._vendor.get_providers()[0] != provider:  # ONNX Runtime goes on without it, and says so in its log only
            found = f"it opened with {', '.join(self._vendor.get_providers())}"
            raise MissingResource(f"run {exported.file.name} with {provider}", found, "see CUDA and cuDNN versions")
        self.inputs, self.outputs, self.precision = exported.inputs, exported.outputs, exported.precision
        self.engine = f"onnxruntime {provider}" + (", CUDA graph" if options.graph else "")
        self._bound: dict[tuple[tuple[int, ...], ...], tuple[Any, dict[str, Any], Any]] = {}

    def run(self, feed: Arrays, taps: Sequence[str] = (), inject: Arrays | None = None) -> Arrays:
        """The outputs by name, copies to and from the GPU included. Raises: UsageError, EngineFailed."""
        check_run(self, feed, taps, inject)
        if self._vendor is None:
            raise closed(self.engine)
        try:
            binding, how = self._placed(feed)
            self._vendor.run_with_iobinding(binding, how)
            self._wait()
            names = [spec.name for spec in self.outputs]
            return owned(dict(zip(names, binding.copy_outputs_to_cpu())))
        except Exception as error:
            raise refused(f"run {self._file.name} with {self.engine}", error) from error

    def device_ms(self, feeds: Sequence[Arrays], runs: int) -> tuple[float, ...]:
        """Milliseconds of the GPU's own work in each of `runs` runs, by events, without copies."""
        if self._gpu is None:
            raise MissingResource("time the GPU's work", f"{self._provider} is not on one", "run it on a GPU")
        first, last, taken = self._gpu.event(), self._gpu.event(), []
        for feed in rotated(feeds, runs):
            binding, how = self._placed(feed)
            self._wait()
            self._gpu.record(first, self._stream)
            self._vendor.run_with_iobinding(binding, how)
            self._gpu.record(last, self._stream)
            self._wait()
            taken.append(self._gpu.elapsed_ms(first, last))
        self._gpu.drop_event(first)
        self._gpu.drop_event(last)
        return tuple(taken[-runs:])

    def told(self) -> Told:
        """Which nodes ran where, by the profile of one run of a session of its own. Raises: EngineFailed."""
        return told_of(self._file, self._options, [(self._provider, {})], self.inputs)

    def profiled(self, feeds: Sequence[Arrays], runs: int) -> Profile:
        """Times of the nodes, by the profile of a session of its own. Raises: EngineFailed."""
        return profile_of(self._file, self._options, [(self._provider, {})], feeds, runs)

    def _providers(self) -> Providers:
        if self._gpu is None:
            return [(self._provider, {})]
        chosen = {"device_id": "0", "user_compute_stream": str(self._stream), "use_tf32": "0"}
        return [(self._provider, {**chosen, "enable_cuda_graph": "1" if self._options.graph else "0"})]

    def _placed(self, feed: Arrays) -> tuple[Any, Any]:
        """The binding of the feed's shapes, its inputs filled, and the options of the run."""
        arrays = {spec.name: np.ascontiguousarray(feed[spec.name]) for spec in self.inputs}
        shapes = tuple(array.shape for array in arrays.values())
        if shapes not in self._bound:
            self._bound[shapes] = self._binding(arrays)
        binding, values, how = self._bound[shapes]
        for name, array in arrays.items():
            values[name].update_inplace(array)
        return binding, how

    def _binding(self, arrays: Arrays) -> tuple[Any, dict[str, Any], Any]:
        where = "cpu" if self._gpu is None else "cuda"
        binding, how = self._vendor.io_binding(), onnxruntime.RunOptions()
        if self._options.graph:
            how.add_run_config_entry("gpu_graph_id", str(len(self._bound) + 1))  # a graph a shape
        if self._gpu is not None:
            how.add_run_config_entry("disable_synchronize_execution_providers", "1")  # we wait for the stream
        # Of copies: on the processor a value is the memory of the array it is made from.
        values = {name: onnxruntime.OrtValue.ortvalue_from_numpy(a.copy(), where, 0) for name, a in arrays.items()}
        batch = next(iter(arrays.values())).shape[0]
        for name, value in values.items():
            binding.bind_ortvalue_input(name, value)
        for spec in self.outputs:
            shape = spec.concrete(batch)
            place = onnxruntime.OrtValue.ortvalue_from_shape_and_type(list(shape), spec.numpy_type, where, 0)
            binding.bind_ortvalue_output(spec.name, place)
        return binding, values, how

    def _wait(self) -> None:
        if self._gpu is not None:
            self._gpu.wait(self._stream)

    def __enter__(self) -> OrtCudaSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._vendor is None:
            return
        self._bound.clear()
        self._vendor = None
        if self._gpu is not None:
            self._gpu.drop_stream(self._stream)


class OrtCudaRuntime:
    """ONNX Runtime's CUDA provider."""

    name = "ort-cuda"

    @staticmethod
    def version() -> str:
        """The version of onnxruntime."""
        return str(onnxruntime.__version__)

    @staticmethod
    def open(exported: Exported, options: RunOptions) -> OrtCudaSession:
        """Load an .onnx file. Raises: MissingResource without the provider or a GPU, EngineFailed."""
        must_exist(exported.file)
        there = onnxruntime.get_available_providers()
        if PROVIDER not in there:
            found = f"this onnxruntime has {', '.join(there)}"
            todo = "install onnxruntime-gpu in its place, where there is a GPU"
            raise MissingResource(f"run {exported.file.name} with {PROVIDER}", found, todo)
        return OrtCudaSession(exported, options, Cuda())

    @staticmethod
    def describe(file: Path) -> Exported:
        """Describe an .onnx file as the runtime on CPU does."""
        found = OrtRuntime.describe(file)
        return replace(found, target=f"ort-cuda-{found.precision}", runtime="ort-cuda")

    @staticmethod
    def companions(file: Path) -> tuple[Path, ...]:
        """External weights, as the runtime on CPU finds them."""
        return OrtRuntime.companions(file)
