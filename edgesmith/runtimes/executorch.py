"""ExecuTorch's own Python runtime: the interpreter, kernels and XNNPACK that an app on a phone links."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import executorch.kernels.quantized  # noqa: F401  registers the kernels of quantize operators outside of XNNPACK
import numpy as np
import torch
from executorch.extension.pybindings import portable_lib
from executorch.runtime import Runtime, Verification

from edgesmith import records
from edgesmith.artifact import Exported
from edgesmith.runtimes.session import RunOptions, check_run, closed, foreign, must_exist, refused
from edgesmith.tensors import Arrays, TensorSpec

_SPECS = "edgesmith_specs"
_MAIN = "forward"
# Numbers of executorch/runtime/core/portable_type/scalar_type.h.
_DTYPES = {0: "uint8", 1: "int8", 3: "int32", 4: "int64", 5: "float16", 6: "float32", 7: "float64", 11: "bool"}


class ExecuTorchSession:
    """One loaded method. The pool of threads is the process's own, so the last opened session decides on it."""

    can_tap = False
    can_inject = False

    def __init__(self, exported: Exported, options: RunOptions) -> None:
        portable_lib._unsafe_reset_threadpool(options.threads)  # the only way the Python runtime has
        self.engine = "executorch XNNPACK"
        try:
            self._vendor: Any = _program(exported.file).load_method(_MAIN)
        except Exception as error:
            raise refused(f"load {exported.file.name} with {self.engine}", error) from error
        self.inputs, self.outputs = exported.inputs, exported.outputs
        self.precision = exported.precision

    def run(self, feed: Arrays, taps: Sequence[str] = (), inject: Arrays | None = None) -> Arrays:
        """The outputs by name. Raises: UsageError, EngineFailed."""
        check_run(self, feed, taps, inject)
        if self._vendor is None:
            raise closed(self.engine)
        values = [torch.from_numpy(np.ascontiguousarray(feed[spec.name])) for spec in self.inputs]
        try:
            answer = self._vendor.execute(values)
        except Exception as error:
            raise refused(f"run with {self.engine}", error) from error
        return {spec.name: np.array(tensor.numpy()) for spec, tensor in zip(self.outputs, answer)}

    def __enter__(self) -> ExecuTorchSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._vendor = None


class ExecuTorchRuntime:
    """ExecuTorch on this machine's processor."""

    name = "executorch"

    @staticmethod
    def version() -> str:
        """The version of executorch."""
        from importlib.metadata import version

        return version("executorch")

    @staticmethod
    def open(exported: Exported, options: RunOptions) -> ExecuTorchSession:
        """Load a .pte file. Raises: EngineFailed, MissingResource."""
        must_exist(exported.file)
        return ExecuTorchSession(exported, options)

    @staticmethod
    def describe(file: Path) -> Exported:
        """Describe a .pte file: by what we wrote in it, else by its method's tensors, which have no names."""
        must_exist(file)
        try:
            program = _program(file)
            specs = _ours(program) if _SPECS in program.method_names else _theirs(program.metadata(_MAIN))
        except Exception as error:
            raise refused(f"read {file.name} with executorch", error) from error
        return foreign("executorch", "fp32", file, specs)

    @staticmethod
    def companions(file: Path) -> tuple[Path, ...]:
        """None: a .pte holds everything."""
        return ()


def _program(file: Path) -> Any:
    return Runtime.get().load_program(file, verification=Verification.InternalConsistency)


def _ours(program: Any) -> tuple[tuple[TensorSpec, ...], ...]:
    (answer,) = program.load_method(_SPECS).execute([])
    about = json.loads(bytes(answer.numpy()))
    return tuple(tuple(records.from_json(TensorSpec, spec) for spec in about[key]) for key in ("inputs", "outputs"))


def _theirs(meta: Any) -> tuple[tuple[TensorSpec, ...], ...]:
    inputs = [(f"input_{n}", meta.input_tensor_meta(n)) for n in range(meta.num_inputs())]
    outputs = [(f"output_{n}", meta.output_tensor_meta(n)) for n in range(meta.num_outputs())]
    return tuple(tuple(_spec(name, tensor) for name, tensor in group) for group in (inputs, outputs))


def _spec(name: str, tensor: Any) -> TensorSpec:
    return TensorSpec(name, tuple(tensor.sizes()), _DTYPES.get(tensor.dtype(), "float32"))
