"""OpenVINO on CPU: one stream, latency hint, the precision always said (it would choose bf16 by itself)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import openvino

from edgesmith.artifact import Exported
from edgesmith.errors import MissingResource, UsageError
from edgesmith.runtimes.executed import Told
from edgesmith.runtimes.openvino_graph import executed, timed
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
from edgesmith.tensors import Arrays, TensorSpec

_HINT_OF = {"fp32": "f32", "int8": "f32", "bf16": "bf16", "fp16": "f16"}
_PRECISION_OF = {"f32": "fp32", "bf16": "bf16", "f16": "fp16"}
_COMPUTE_LAYERS = ("Convolution", "FullyConnected", "MatMul", "Deconvolution")
_INTEGER_OPERATORS = ("FakeQuantize", "FakeConvert")


class OpenVinoSession:
    """One compiled model and its infer request; taps and injections compile a second one.

    Tapped tensors become outputs of it, injected ones inputs that everybody reads who read the tensor.
    """

    can_tap = True
    can_inject = True

    def __init__(self, exported: Exported, options: RunOptions) -> None:
        self._file = exported.file
        self._settings = _settings(exported.precision, options)
        compiled = _compile(self._file, ((), ()), self._settings)
        self._vendor: Any = compiled.create_infer_request()
        self._compiled: Any = compiled
        self._changed: tuple[Change, Any] | None = None
        self.inputs, self.outputs = exported.inputs, exported.outputs
        self._order = _order(compiled.inputs, self.inputs)
        self._answers = _order(compiled.outputs, self.outputs)
        self.precision = _executed(compiled)
        self.engine = f"openvino CPU ({compiled.get_property('INFERENCE_PRECISION_HINT').to_string()})"

    def run(self, feed: Arrays, taps: Sequence[str] = (), inject: Arrays | None = None) -> Arrays:
        """The outputs by name, and the tapped tensors by theirs. Raises: UsageError, EngineFailed."""
        check_run(self, feed, taps, inject)
        if self._vendor is None:
            raise closed(self.engine)
        given = inject or {}
        request = self._with(change_of(taps, given)) if taps or given else self._vendor
        fed = [*(feed[name] for name in self._order), *given.values()]
        try:
            answer = list(request.infer(dict(enumerate(fed)), share_inputs=False, share_outputs=False).values())
        except RuntimeError as error:
            raise refused(f"run {self._file.name} with {self.engine}", error) from error
        return owned(with_injected(dict(zip([*self._answers, *taps], answer)), self.outputs, taps, given))

    def _with(self, change: Change) -> Any:
        if self._changed is None or self._changed[0] != change:
            self._changed = None  # the older model is given back before the new one is made
            self._changed = (change, _compile(self._file, change, self._settings).create_infer_request())
        return self._changed[1]

    def told(self) -> Told:
        """The operators of the compiled model, as its execution graph describes them. Raises: UsageError."""
        if self._compiled is None:
            raise closed(self.engine)
        return Told(executed(self._compiled, _read(self._file)), "CPU", "openvino's execution graph")

    def profiled(self, feeds: Sequence[Arrays], runs: int) -> Profile:
        """Times of the operators, by the performance counters of a model compiled with them. Raises: EngineFailed."""
        if self._compiled is None:
            raise closed(self.engine)
        compiled = _compile(self._file, ((), ()), {**self._settings, "PERF_COUNT": True})
        request, counted, whole = compiled.create_infer_request(), [], []
        for feed in rotated(feeds, runs):
            begin = time.perf_counter_ns()
            try:
                request.infer({place: feed[name] for place, name in enumerate(self._order)})
            except RuntimeError as error:
                raise refused(f"profile {self._file.name} with {self.engine}", error) from error
            whole.append((time.perf_counter_ns() - begin) / 1e6)
            counted.append({one.node_name: one.real_time.total_seconds() * 1e3 for one in request.profiling_info})
        return timed(executed(compiled, _read(self._file)), counted[-runs:], whole[-runs:])

    def __enter__(self) -> OpenVinoSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._vendor = self._changed = self._compiled = None


class OpenVinoRuntime:
    """OpenVINO's CPU plug-in."""

    name = "openvino"

    @staticmethod
    def version() -> str:
        """The version of openvino."""
        return str(openvino.__version__).split("-")[0]

    @staticmethod
    def open(exported: Exported, options: RunOptions) -> OpenVinoSession:
        """Load an .xml file with its .bin. Raises: EngineFailed, MissingResource, UsageError for a precision."""
        must_exist(exported.file)
        return OpenVinoSession(exported, options)

    @staticmethod
    def describe(file: Path) -> Exported:
        """Describe an .xml file; a float model will be run in fp32, whatever its weights are stored in."""
        must_exist(file)
        model = _read(file)
        inputs = tuple(_spec(port, n, "input") for n, port in enumerate(model.inputs))
        outputs = tuple(_spec(port, n, "output") for n, port in enumerate(model.outputs))
        quantized = any(op.get_type_name() in _INTEGER_OPERATORS for op in model.get_ops())
        return foreign("openvino", "int8" if quantized else "fp32", file, (inputs, outputs))

    @staticmethod
    def companions(file: Path) -> tuple[Path, ...]:
        """The .bin with the weights. Raises: MissingResource without it."""
        weights = file.with_suffix(".bin")
        if not weights.is_file():
            raise MissingResource(f"open {file}", f"{weights.name} is not beside it", "copy both files of the model")
        return (weights,)


def _settings(precision: str, options: RunOptions) -> dict[str, Any]:
    if precision not in _HINT_OF:
        raise UsageError(f"openvino in precision {precision!r}", "not known", f"choose from: {', '.join(_HINT_OF)}")
    return {
        "INFERENCE_PRECISION_HINT": _HINT_OF[precision],
        "INFERENCE_NUM_THREADS": options.threads,
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
    }


def _read(file: Path) -> Any:
    try:
        return openvino.Core().read_model(str(file))
    except RuntimeError as error:
        raise refused(f"read {file.name} with openvino", error) from error


def _compile(file: Path, change: Change, settings: dict[str, Any]) -> Any:
    model = _read(file)
    _rewire(model, change, file.name)
    try:
        return openvino.Core().compile_model(model, "CPU", settings)
    except RuntimeError as error:
        raise refused(f"compile {file.name} with openvino", error) from error


def _rewire(model: Any, change: Change, file: str) -> None:
    taps, injected = change
    names = {name: out for op in model.get_ops() for out in op.outputs() for name in out.get_names()}
    missing = [name for name in (*taps, *(name for name, _ in injected)) if name not in names]
    if missing:
        raise UsageError(f"tap or inject {missing} of {file}", "no such tensors", "name tensors of the model")
    # By port and result, not add_outputs: that one leaves out a tensor which is an output already.
    model.add_results([openvino.opset1.result(names[name]) for name in taps])
    for name, dtype in injected:
        port = names[name]
        readers = [one for one in port.get_target_inputs() if one.get_node().get_type_name() != "Result"]
        parameter = openvino.opset1.parameter(port.get_partial_shape(), np.dtype(dtype))
        for reader in readers:
            reader.replace_source_output(parameter.output(0))
        model.add_parameters([parameter])


def _order(ports: Sequence[Any], specs: tuple[TensorSpec, ...]) -> list[str]:
    """Our names in the order of the compiled model's ports: by tensor name, else by position."""
    wanted = [spec.name for spec in specs]
    found = [next((name for name in wanted if name in port.names), "") for port in ports]
    if sorted(found) == sorted(wanted):
        return found
    if len(ports) != len(wanted):
        raise UsageError(f"inputs or outputs {wanted}", f"the model has {len(ports)}", "describe the file again")
    return wanted


def _executed(compiled: Any) -> str:
    """int8 when the compiled model says that a convolution or matrix product runs in it, else its float type."""
    for op in compiled.get_runtime_model().get_ops():
        facts = op.get_rt_info()
        if facts["layerType"].astype(str) in _COMPUTE_LAYERS and facts["runtimePrecision"].astype(str) in ("u8", "i8"):
            return "int8"
    hint = str(compiled.get_property("INFERENCE_PRECISION_HINT").to_string())
    return _PRECISION_OF.get(hint, hint)


def _spec(port: Any, place: int, kind: str) -> TensorSpec:
    name = min(port.names) if port.names else f"{kind}_{place}"
    shape = tuple(
        f"{name}_{axis}" if size.is_dynamic else size.get_length() for axis, size in enumerate(port.partial_shape)
    )
    return TensorSpec(name, shape, str(port.element_type.to_dtype()))
