"""PyTorch on the first CUDA GPU: the program of a .pt2 moved there, run eagerly or as a captured graph.

Source: PyTorch documentation, "CUDA semantics" (events, graphs, TF32).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import fx
from torch.export.passes import move_to_device_pass

from edgesmith.artifact import Exported
from edgesmith.errors import MissingResource
from edgesmith.runtimes.executed import Told
from edgesmith.runtimes.profile import OperatorTime, Profile, rotated
from edgesmith.runtimes.session import RunOptions, check_run, closed, must_exist, refused
from edgesmith.runtimes.torch import TorchRuntime, flat, load, operators_of
from edgesmith.tensors import Arrays

_WARM = 3  # runs before a capture: what is chosen or allocated on first use must not be in the graph


class TorchCudaSession:
    """The graph module of an exported program on a device; inputs and outputs are copied from and to the host.

    device: "cuda", or "cpu" where only the copying and the calls are to be seen. With `options.graph` the work of a
    shape is captured once and then replayed.
    """

    can_tap = False
    can_inject = False

    def __init__(self, exported: Exported, options: RunOptions, device: str = "cuda") -> None:
        self._device, self._options = torch.device(device), options
        # TF32 keeps 10 bits of the mantissa: that is not the fp32 of the name.
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        self._vendor: Any = flat(move_to_device_pass(load(exported.file), self._device).module())
        self.inputs, self.outputs, self._products = exported.inputs, exported.outputs, exported.products
        self.precision = exported.precision
        self.engine = f"torch eager {_name(self._device)}" + (", CUDA graph" if options.graph else "")
        self._graphs: dict[tuple[tuple[int, ...], ...], tuple[Any, list[Any], list[Any]]] = {}

    def run(self, feed: Arrays, taps: Sequence[str] = (), inject: Arrays | None = None) -> Arrays:
        """The outputs by name, copies to and from the GPU included. Raises: UsageError, EngineFailed."""
        check_run(self, feed, taps, inject)
        if self._vendor is None:
            raise closed(self.engine)
        try:
            with torch.inference_mode():
                answer = self._answer(self._there(feed))
                # Copying to the host waits for the work; a copy of its own where an output may be a view.
                return {spec.name: np.array(one.cpu().numpy()) for spec, one in zip(self.outputs, answer)}
        except (RuntimeError, AssertionError) as error:
            raise refused(f"run with {self.engine}", error) from error

    def device_ms(self, feeds: Sequence[Arrays], runs: int) -> tuple[float, ...]:
        """Milliseconds of the GPU's own work in each of `runs` runs, by events, without copies."""
        taken = []
        with torch.inference_mode():
            for feed in rotated(feeds, runs):
                values = self._there(feed)
                first, last = _event(), _event()
                torch.cuda.synchronize(self._device)
                first.record()
                self._answer(values)
                last.record()
                last.synchronize()
                taken.append(float(first.elapsed_time(last)))
        return tuple(taken[-runs:])

    def told(self) -> Told:
        """Every operator in the type of its value, on the GPU: nothing is fused and nothing moved."""
        if self._vendor is None:
            raise closed(self.engine)
        unit = "CPU" if self._device.type == "cpu" else "CUDA"
        found = tuple(replace(one, unit=unit) for one in operators_of(self._vendor, self._products))
        return Told(found, unit, "torch's program, run operator by operator")

    def profiled(self, feeds: Sequence[Arrays], runs: int) -> Profile:
        """Times of the program's nodes, between events before and after each. Raises: EngineFailed."""
        if self._vendor is None:
            raise closed(self.engine)
        taken: list[dict[str, float]] = []
        whole: list[float] = []
        try:
            with torch.inference_mode():
                for feed in rotated(feeds, runs):
                    walk, first, last = _Timed(self._vendor), _event(), _event()
                    values = self._there(feed)
                    first.record()
                    walk.run(*values, enable_io_processing=False)
                    last.record()
                    torch.cuda.synchronize(self._device)
                    taken.append({name: one.elapsed_time(other) for name, (one, other) in walk.events.items()})
                    whole.append(first.elapsed_time(last))
        except RuntimeError as error:
            raise refused(f"profile with {self.engine}", error) from error
        kinds = {node.name: str(node.target) for node in self._vendor.graph.nodes}
        names = list(taken[-1])
        operators = [OperatorTime((name,), kinds[name], tuple(run[name] for run in taken[-runs:])) for name in names]
        return Profile(tuple(operators), tuple(whole[-runs:]), "CUDA events around every operator")

    def _there(self, feed: Arrays) -> list[Any]:
        values = [torch.from_numpy(np.ascontiguousarray(feed[spec.name])) for spec in self.inputs]
        return [value.to(self._device) for value in values]

    def _answer(self, values: list[Any]) -> Sequence[Any]:
        if not self._options.graph:
            return self._vendor(*values)  # type: ignore[no-any-return]
        shapes = tuple(tuple(value.shape) for value in values)
        if shapes not in self._graphs:
            self._graphs[shapes] = self._captured(values)
        graph, inputs, outputs = self._graphs[shapes]
        for kept, value in zip(inputs, values):
            kept.copy_(value)
        graph.replay()
        return outputs

    def _captured(self, values: list[Any]) -> tuple[Any, list[Any], list[Any]]:
        inputs = [value.clone() for value in values]
        beside = torch.cuda.Stream(self._device)
        beside.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(beside):
            for _ in range(_WARM):
                self._vendor(*inputs)
        torch.cuda.current_stream(self._device).wait_stream(beside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            outputs = list(self._vendor(*inputs))
        return graph, inputs, outputs

    def __enter__(self) -> TorchCudaSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._vendor = None
        self._graphs.clear()


class TorchCompileSession:
    """The same program compiled by torch.compile, a kernel set for every shape; it tells nothing of its operators."""

    can_tap = False
    can_inject = False

    def __init__(self, exported: Exported, options: RunOptions, device: str = "cuda") -> None:
        self._eager = TorchCudaSession(exported, options, device)
        self._eager._vendor = torch.compile(self._eager._vendor, dynamic=False)
        self._eager.engine = self.engine = self._eager.engine.replace("eager", "compile")
        self.inputs, self.outputs, self.precision = exported.inputs, exported.outputs, exported.precision

    @property
    def _vendor(self) -> Any:
        return self._eager._vendor

    def run(self, feed: Arrays, taps: Sequence[str] = (), inject: Arrays | None = None) -> Arrays:
        """The outputs by name, copies to and from the GPU included. Raises: UsageError, EngineFailed."""
        return self._eager.run(feed, taps, inject)

    def device_ms(self, feeds: Sequence[Arrays], runs: int) -> tuple[float, ...]:
        """Milliseconds of the GPU's own work in each of `runs` runs, by events, without copies."""
        return self._eager.device_ms(feeds, runs)

    def __enter__(self) -> TorchCompileSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._eager.__exit__(kind, error, trace)


class _Timed(fx.Interpreter):
    """Records an event before and after every operator; the GPU is not waited for in between."""

    def __init__(self, module: Any) -> None:
        super().__init__(module)
        self.events: dict[str, tuple[Any, Any]] = {}

    def run_node(self, node: fx.Node) -> Any:
        if node.op != "call_function":
            return super().run_node(node)
        first, last = _event(), _event()
        first.record()
        value = super().run_node(node)
        last.record()
        self.events[node.name] = (first, last)
        return value


class TorchCudaRuntime:
    """PyTorch eager on CUDA."""

    name = "torch-cuda"

    @staticmethod
    def version() -> str:
        """The version of torch."""
        return str(torch.__version__)

    @staticmethod
    def open(exported: Exported, options: RunOptions) -> TorchCudaSession:
        """Load a .pt2 file. Raises: MissingResource without CUDA, UntrustedFile, EngineFailed."""
        return _opened(TorchCudaSession, exported, options)  # type: ignore[no-any-return]

    @staticmethod
    def describe(file: Path) -> Exported:
        """Describe a .pt2 file as the runtime on CPU does."""
        return replace(TorchRuntime.describe(file), target="torch-cuda-fp32", runtime="torch-cuda")

    @staticmethod
    def companions(file: Path) -> tuple[Path, ...]:
        """None: a .pt2 holds everything."""
        return ()


class TorchCompileRuntime:
    """torch.compile on CUDA."""

    name = "torch-compile"

    @staticmethod
    def version() -> str:
        """The version of torch."""
        return str(torch.__version__)

    @staticmethod
    def open(exported: Exported, options: RunOptions) -> TorchCompileSession:
        """Load a .pt2 file; it is compiled at the first run. Raises: MissingResource, UntrustedFile, EngineFailed."""
        return _opened(TorchCompileSession, exported, options)  # type: ignore[no-any-return]

    @staticmethod
    def describe(file: Path) -> Exported:
        """Describe a .pt2 file as the runtime on CPU does."""
        return replace(TorchRuntime.describe(file), target="torch-compile-fp32", runtime="torch-compile")

    @staticmethod
    def companions(file: Path) -> tuple[Path, ...]:
        """None: a .pt2 holds everything."""
        return ()


def _opened(kind: Any, exported: Exported, options: RunOptions) -> Any:
    must_exist(exported.file)
    if not torch.cuda.is_available():
        build = f"torch {torch.__version__} is built for CUDA {torch.version.cuda}" if torch.version.cuda else ""
        found = f"no CUDA GPU here ({build})" if build else f"torch {torch.__version__} is built without CUDA"
        raise MissingResource(f"run {exported.file.name} on CUDA", found, "run it on a GPU, with a CUDA torch")
    try:
        return kind(exported, options)
    except RuntimeError as error:
        raise refused(f"move {exported.file.name} to the GPU", error) from error


def _event() -> Any:
    return torch.cuda.Event(enable_timing=True)


def _name(device: torch.device) -> str:
    return f"CUDA {torch.cuda.get_device_name(device)}" if device.type == "cuda" else "CPU"
