"""PyTorch on CPU: a torch.export program (.pt2), run eagerly. The reference of every comparison."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import fx

from edgesmith.artifact import Exported, Product
from edgesmith.errors import UsageError
from edgesmith.runtimes.executed import Executed, Told
from edgesmith.runtimes.profile import OperatorTime, Profile, rotated
from edgesmith.runtimes.session import RunOptions, check_run, closed, foreign, must_exist, refused
from edgesmith.tensors import Arrays, TensorSpec

_DTYPES = {torch.float32: "float32", torch.float16: "float16", torch.float64: "float64", torch.int64: "int64"}
_DTYPES |= {torch.int32: "int32", torch.uint8: "uint8", torch.int8: "int8", torch.bool: "bool"}

_PRECISIONS = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16", "float64": "fp64"}
_MARK = "edgesmith:"  # before the names of nodes among the profiler's events; alone: a whole run
_ON_CPU = torch.profiler.ProfilerActivity.CPU


class TorchSession:
    """The graph module of an exported program. Taps and injections name its nodes."""

    engine = "torch eager CPU"
    can_tap = True
    can_inject = True

    def __init__(self, exported: Exported, options: RunOptions) -> None:
        torch.set_num_threads(options.threads)
        self._vendor: Any = flat(load(exported.file).module())
        self.inputs, self.outputs, self._products = exported.inputs, exported.outputs, exported.products
        self.precision = exported.precision

    def run(self, feed: Arrays, taps: Sequence[str] = (), inject: Arrays | None = None) -> Arrays:
        """The outputs by name, and the tapped nodes by theirs. Raises: UsageError, EngineFailed."""
        check_run(self, feed, taps, inject)
        if self._vendor is None:
            raise closed(self.engine)
        values = [torch.from_numpy(np.ascontiguousarray(feed[spec.name])) for spec in self.inputs]
        try:
            with torch.inference_mode():
                answer, tapped = self._execute(values, taps, inject) if taps or inject else (self._vendor(*values), {})
        except (RuntimeError, AssertionError) as error:
            raise refused(f"run with {self.engine}", error) from error
        named = dict(zip([spec.name for spec in self.outputs], answer)) | tapped
        # A copy: an output may be a view of an input, of a weight or of another output.
        return {name: np.array(tensor.numpy()) for name, tensor in named.items()}

    def told(self) -> Told:
        """Every operator in the type of its value, on the processor: nothing is fused and nothing moved."""
        if self._vendor is None:
            raise closed(self.engine)
        operators = operators_of(self._vendor, self._products)
        return Told(operators, "CPU", "torch's program, run operator by operator")

    def profiled(self, feeds: Sequence[Arrays], runs: int) -> Profile:
        """Times of the program's nodes, each marked in torch's profiler. Raises: EngineFailed, UsageError."""
        if self._vendor is None:
            raise closed(self.engine)
        walk, taken = _Marked(self._vendor), dict[str, list[float]]()
        try:
            with torch.inference_mode(), torch.profiler.profile(activities=[_ON_CPU]) as recorded:
                for feed in rotated(feeds, runs):
                    values = [torch.from_numpy(np.ascontiguousarray(feed[spec.name])) for spec in self.inputs]
                    with torch.profiler.record_function(_MARK):
                        walk.run(*values, enable_io_processing=False)
        except RuntimeError as error:
            raise refused(f"profile with {self.engine}", error) from error
        for event in recorded.events():
            if event.name.startswith(_MARK):
                taken.setdefault(event.name.removeprefix(_MARK), []).append(event.time_range.elapsed_us() / 1e3)
        whole = taken.pop("")
        kinds = {node.name: str(node.target) for node in self._vendor.graph.nodes}
        operators = tuple(OperatorTime((name,), kinds[name], tuple(ms[-runs:])) for name, ms in taken.items())
        return Profile(operators, tuple(whole[-runs:]), "torch's profiler, operator by operator")

    def _execute(self, values: list[Any], taps: Sequence[str], inject: Arrays | None) -> tuple[Any, dict[str, Any]]:
        """Node by node; an injected node is not computed, its users get what was injected."""
        nodes = {node.name: node for node in self._vendor.graph.nodes}
        missing = [name for name in (*taps, *(inject or {})) if name not in nodes]
        if missing:
            raise UsageError(f"tap or inject {missing}", "no such nodes", "name nodes of the exported program")
        given = {nodes[name]: torch.from_numpy(np.ascontiguousarray(array)) for name, array in (inject or {}).items()}
        walk = fx.Interpreter(self._vendor, garbage_collect_values=False)
        answer = walk.run(*values, initial_env=given, enable_io_processing=False)
        return answer, {name: walk.env[nodes[name]] for name in taps}

    def __enter__(self) -> TorchSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._vendor = None


class _Marked(fx.Interpreter):
    """Marks every operator for the profiler by the name of its node."""

    def run_node(self, node: fx.Node) -> Any:
        if node.op != "call_function":
            return super().run_node(node)
        with torch.profiler.record_function(_MARK + node.name):
            return super().run_node(node)


class TorchRuntime:
    """PyTorch eager on CPU."""

    name = "torch"

    @staticmethod
    def version() -> str:
        """The version of torch."""
        return str(torch.__version__)

    @staticmethod
    def open(exported: Exported, options: RunOptions) -> TorchSession:
        """Load a .pt2 file. Raises: UntrustedFile, EngineFailed, MissingResource."""
        must_exist(exported.file)
        return TorchSession(exported, options)

    @staticmethod
    def describe(file: Path) -> Exported:
        """Describe a .pt2 file; its inputs and outputs have the names of the program's nodes."""
        must_exist(file)
        nodes = list(flat(load(file).module()).graph.nodes)
        inputs = tuple(_spec(node) for node in nodes if node.op == "placeholder")
        results = next(node for node in nodes if node.op == "output").args[0]
        outputs = tuple(_spec(node) for node in results)
        return foreign("torch", "fp32", file, (inputs, outputs))

    @staticmethod
    def companions(file: Path) -> tuple[Path, ...]:
        """None: a .pt2 holds everything."""
        return ()


def load(file: Path) -> Any:
    """The exported program of a .pt2, after it was seen to be harmless. Raises: UntrustedFile."""
    from edgesmith.graph.trust import load_program

    return load_program(file)


def operators_of(module: Any, products: Sequence[Product]) -> tuple[Executed, ...]:
    """Every operator of a program in the type of its value, on the processor."""
    macs = {name: product.macs for product in products for name in product.names}
    nodes = [node for node in module.graph.nodes if node.op == "call_function"]
    return tuple(Executed((n.name,), str(n.target), _precision(n), "CPU", macs.get(n.name, 0)) for n in nodes)


def flat(module: Any) -> Any:
    """Drop the (args, kwargs) packing: the module then takes its inputs and gives its outputs in a row."""
    module.graph.set_codegen(fx.graph.CodeGen())
    module.recompile()
    return module


def _precision(node: Any) -> str:
    kind = str(getattr(node.meta.get("val"), "dtype", "")).removeprefix("torch.")
    return _PRECISIONS.get(kind, kind)


def _spec(node: Any) -> TensorSpec:
    value = node.meta["val"]
    shape = tuple(size if isinstance(size, int) else str(size) for size in value.shape)
    return TensorSpec(node.name, shape, _DTYPES.get(value.dtype, str(value.dtype).removeprefix("torch.")))
