"""ONNX Runtime on CPU: sequential, a fixed number of threads."""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import onnxruntime

from edgesmith.artifact import Exported
from edgesmith.errors import UsageError
from edgesmith.plugins import is_installed
from edgesmith.runtimes.executed import Told
from edgesmith.runtimes.ort_profile import read_profile, read_times
from edgesmith.runtimes.profile import Profile, rotated
from edgesmith.runtimes.session import (
    Change,
    RunOptions,
    change_of,
    check_run,
    closed,
    foreign,
    must_exist,
    owned,
    refused,
    with_injected,
)
from edgesmith.tensors import Arrays, TensorSpec, random_feed

Providers = list[tuple[str, dict[str, str]]]  # in the order in which they are asked for a node
_PROVIDERS: Providers = [("CPUExecutionProvider", {})]
_DTYPES = {"float": "float32", "double": "float64"}
# Operators that only a quantized graph has; their names stand in the file as plain text.
_INTEGER_OPERATORS = (b"QuantizeLinear", b"QLinear", b"ConvInteger", b"MatMulInteger")


class OrtSession:
    """One onnxruntime.InferenceSession; taps and injections open a second one of a changed graph.

    Tapped tensors become outputs of it, injected ones inputs that everybody reads who read the tensor.
    """

    def __init__(self, exported: Exported, options: RunOptions) -> None:
        self._file, self._options = exported.file, options
        self._vendor: Any = open_session(str(exported.file), options, _PROVIDERS)
        self._changed: tuple[Change, Any] | None = None
        self.inputs, self.outputs = exported.inputs, exported.outputs
        self.engine = "onnxruntime " + ", ".join(self._vendor.get_providers())
        self.precision = exported.precision
        self.can_tap = self.can_inject = is_installed("onnx")

    def run(self, feed: Arrays, taps: Sequence[str] = (), inject: Arrays | None = None) -> Arrays:
        """The outputs by name, and the tapped tensors by theirs. Raises: UsageError, EngineFailed."""
        check_run(self, feed, taps, inject)
        if self._vendor is None:
            raise closed(self.engine)
        given = inject or {}
        vendor = self._with(change_of(taps, given)) if taps or given else self._vendor
        wanted = [name for name in dict.fromkeys([*(spec.name for spec in self.outputs), *taps]) if name not in given]
        try:
            answer = vendor.run(wanted, {**feed, **given}) if wanted else []
        except Exception as error:
            raise refused(f"run {self._file.name} with {self.engine}", error) from error
        return owned(with_injected(dict(zip(wanted, answer)), self.outputs, taps, given))

    def told(self) -> Told:
        """Which nodes ran, by the profile of one run of a session of its own. Raises: EngineFailed."""
        return told_of(self._file, self._options, _PROVIDERS, self.inputs)

    def profiled(self, feeds: Sequence[Arrays], runs: int) -> Profile:
        """Times of the nodes, by the profile of a session of its own. Raises: EngineFailed."""
        return profile_of(self._file, self._options, _PROVIDERS, feeds, runs)

    def _with(self, change: Change) -> Any:
        if self._changed is None or self._changed[0] != change:
            self._changed = None  # the older graph is given back before the new one is made
            self._changed = (change, open_session(_rewired(self._file, change), self._options, _PROVIDERS))
        return self._changed[1]

    def __enter__(self) -> OrtSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._vendor = self._changed = None


class OrtRuntime:
    """ONNX Runtime's CPU provider."""

    name = "ort"

    @staticmethod
    def version() -> str:
        """The version of onnxruntime."""
        return str(onnxruntime.__version__)

    @staticmethod
    def open(exported: Exported, options: RunOptions) -> OrtSession:
        """Load an .onnx file. Raises: EngineFailed, MissingResource."""
        must_exist(exported.file)
        return OrtSession(exported, options)

    @staticmethod
    def describe(file: Path) -> Exported:
        """Describe an .onnx file by what a session says of it."""
        must_exist(file)
        vendor = open_session(str(file), RunOptions(), _PROVIDERS)
        inputs = tuple(_spec(value) for value in vendor.get_inputs())
        outputs = tuple(_spec(value) for value in vendor.get_outputs())
        return foreign("ort", _precision(file, inputs), file, (inputs, outputs))

    @staticmethod
    def companions(file: Path) -> tuple[Path, ...]:
        """External weights as the graph names them, or by their usual names where onnx is not installed."""
        if not is_installed("onnx"):
            return tuple(sorted(p for p in file.parent.glob(f"{file.name}?*") if p.is_file()))
        graph = _read(file, weights=False).graph
        places = {e.value for tensor in graph.initializer for e in tensor.external_data if e.key == "location"}
        found = [(file.parent / place).resolve() for place in sorted(places)]
        for path in found:
            if file.parent.resolve() not in path.parents:
                raise UsageError(f"open {file}", f"its weights lie outside its folder: {path}", "put them beside it")
            must_exist(path)
        return tuple(found)


def told_of(file: Path, options: RunOptions, providers: Providers, inputs: tuple[TensorSpec, ...]) -> Told:
    """Which nodes ran, by the profile of one run of a session of its own. Raises: EngineFailed."""
    with tempfile.TemporaryDirectory() as folder:
        vendor = open_session(str(file), options, providers, profile=str(Path(folder) / "run"))
        try:
            vendor.run(None, random_feed(inputs))
        except Exception as error:
            raise refused(f"profile {file.name} with {providers[0][0]}", error) from error
        operators = read_profile(Path(vendor.end_profiling()))
    return Told(operators, providers[0][0], "onnxruntime's profile of one run")


def profile_of(file: Path, options: RunOptions, providers: Providers, feeds: Sequence[Arrays], runs: int) -> Profile:
    """Times of the nodes, by the profile of a session of its own. Raises: EngineFailed."""
    with tempfile.TemporaryDirectory() as folder:
        vendor = open_session(str(file), options, providers, profile=str(Path(folder) / "run"), prepack=True)
        try:
            for feed in rotated(feeds, runs):
                vendor.run(None, feed)
        except Exception as error:
            raise refused(f"profile {file.name} with {providers[0][0]}", error) from error
        return read_times(Path(vendor.end_profiling()), runs)


def open_session(
    model: str | bytes, options: RunOptions, providers: Providers, profile: str = "", prepack: bool = False
) -> Any:
    """An InferenceSession with our settings. Raises: EngineFailed. profile: prefix of the profile's file."""
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.threads
    settings.inter_op_num_threads = 1
    settings.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    settings.log_severity_level = 3
    # An open but idle session must not spin while another candidate is being timed.
    settings.add_session_config_entry("session.force_spinning_stop", "1")
    if profile:
        settings.enable_profiling, settings.profile_file_prefix = True, profile
    if profile and not prepack:  # prepacked weights and their shapes are gone from a profile
        settings.add_session_config_entry("session.disable_prepacking", "1")
    try:
        return onnxruntime.InferenceSession(model, settings, providers=providers)
    except Exception as error:
        name = Path(model).name if isinstance(model, str) else "the model with taps"
        raise refused(f"load {name} with onnxruntime", error) from error


def _read(file: Path, weights: bool) -> Any:
    import onnx

    try:
        return onnx.load(str(file), load_external_data=weights)
    except Exception as error:
        raise refused(f"read {file.name} with onnx", error) from error


def _rewired(file: Path, change: Change) -> bytes:
    import onnx

    taps, injected = change
    model = _read(file, weights=True)
    graph = model.graph
    inputs = {value.name for value in graph.input}
    known = {name for node in graph.node for name in node.output} | inputs
    missing = [name for name in (*taps, *(name for name, _ in injected)) if name not in known]
    if missing:
        todo = "name outputs of nodes of the graph"
        raise UsageError(f"tap or inject {missing} of {file.name}", "no such tensors", todo)
    replaced = {name for name, _ in injected}
    for node in graph.node:
        node.output[:] = [f"{name}::computed" if name in replaced else name for name in node.output]
    kept = [value for value in graph.output if value.name not in replaced]
    present = {value.name for value in kept} | replaced
    del graph.output[:]
    graph.output.extend([*kept, *(onnx.ValueInfoProto(name=name) for name in taps if name not in present)])
    for name, dtype in injected:
        if name not in inputs:
            kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
            graph.input.append(onnx.helper.make_tensor_value_info(name, kind, None))
    return bytes(model.SerializeToString())


def _spec(value: Any) -> TensorSpec:
    kind = value.type.removeprefix("tensor(").removesuffix(")")
    shape = tuple(size if isinstance(size, (int, str)) else f"{value.name}_{n}" for n, size in enumerate(value.shape))
    return TensorSpec(value.name, shape, _DTYPES.get(kind, kind))


def _precision(file: Path, inputs: tuple[TensorSpec, ...]) -> str:
    with file.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if any(content.find(operator) >= 0 for operator in _INTEGER_OPERATORS):
            return "int8"
    return "fp16" if any(spec.dtype == "float16" for spec in inputs) else "fp32"
