"""Core ML: coremltools predicts on macOS only; elsewhere our interpreter runs the package (runtimes/mil)."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from edgesmith.artifact import Exported
from edgesmith.plugins import missing_package
from edgesmith.runtimes import compute_plan
from edgesmith.runtimes.coreml_vendor import coremltools
from edgesmith.runtimes.executed import Told
from edgesmith.runtimes.session import (
    RunOptions,
    Session,
    check_run,
    closed,
    foreign,
    must_exist,
    refused,
)
from edgesmith.tensors import Arrays, TensorSpec

# Numbers of ArrayFeatureType.ArrayDataType in Core ML's FeatureTypes.proto.
_DTYPES = {65568: "float32", 65552: "float16", 65600: "float64", 131104: "int32", 131080: "int8"}
# A number of DataType in Core ML's MIL.proto.
_MIL_FLOAT16 = 10


class CoreMLSession:
    """One MLModel on macOS."""

    can_tap = False
    can_inject = False

    def __init__(self, exported: Exported) -> None:
        self.engine, self._file = "Core ML CPU only", exported.file
        try:
            # The compute unit is fixed so that two runs are the same engine; the number of threads is Core ML's own.
            self._vendor: Any = coremltools.models.MLModel(
                str(exported.file), compute_units=coremltools.ComputeUnit.CPU_ONLY
            )
        except Exception as error:
            raise refused(f"load {exported.file.name} with coremltools", error) from error
        self.inputs, self.outputs = exported.inputs, exported.outputs
        self.precision = exported.precision

    def run(self, feed: Arrays, taps: Sequence[str] = (), inject: Arrays | None = None) -> Arrays:
        """The outputs by name. Raises: UsageError, EngineFailed."""
        check_run(self, feed, taps, inject)
        if self._vendor is None:
            raise closed(self.engine)
        try:
            answer = self._vendor.predict(dict(feed))
        except Exception as error:
            raise refused(f"run with {self.engine}", error) from error
        return {spec.name: np.array(answer[spec.name]) for spec in self.outputs}

    def told(self) -> Told | None:
        """What a compute plan beside the package says of a Mac or phone (compute_plan.py); None where there is none."""
        return compute_plan.beside(self._file)

    def __enter__(self) -> CoreMLSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._vendor = None


class CoreMLRuntime:
    """Core ML through coremltools."""

    name = "coreml"

    @staticmethod
    def version() -> str:
        """The version of coremltools."""
        return str(coremltools.__version__)

    @staticmethod
    def open(exported: Exported, options: RunOptions) -> Session:
        """Load an .mlpackage. Raises: EngineFailed, DamagedArtifact, UsageError, MissingPackage."""
        must_exist(exported.file)
        return _executor(exported, options)

    @staticmethod
    def describe(file: Path) -> Exported:
        """Describe an .mlpackage by its specification; this works on every system."""
        must_exist(file)
        try:
            package = coremltools.models.MLModel(str(file), skip_model_load=True).get_spec()
        except Exception as error:
            raise refused(f"read {file.name} with coremltools", error) from error
        inputs = tuple(_spec(value) for value in package.description.input)
        shapes = _shapes(package)
        outputs = tuple(_spec(value, shapes.get(value.name, ())) for value in package.description.output)
        return foreign("coreml", _precision(package), file, (inputs, outputs))

    @staticmethod
    def companions(file: Path) -> tuple[Path, ...]:
        """None: a package is a folder that holds everything."""
        return ()


def _executor(exported: Exported, options: RunOptions) -> Session:
    """The one place where what executes a package is chosen: Core ML itself, or elsewhere the interpreter."""
    if sys.platform == "darwin":
        return CoreMLSession(exported)
    try:
        from edgesmith.runtimes.mil.session import MilSession
    except ModuleNotFoundError as error:
        raise missing_package(error, f"run {exported.file.name} without macOS") from error
    return MilSession(exported, options)


def _spec(value: Any, computed: tuple[int | str, ...] = ()) -> TensorSpec:
    """An input as described, an axis with a range of sizes as a dynamic one; an output in the shape it is computed."""
    if value.type.WhichOneof("Type") != "multiArrayType":
        return TensorSpec(value.name, (), value.type.WhichOneof("Type") or "unknown")
    array = value.type.multiArrayType
    ranges = [(one.lowerBound, one.upperBound) for one in array.shapeRange.sizeRanges]
    sizes = [int(size) for size in array.shape]
    shape: tuple[int | str, ...] = tuple(
        f"{value.name}_{axis}" if axis < len(ranges) and ranges[axis][0] != ranges[axis][1] else size
        for axis, size in enumerate(sizes)
    )
    return TensorSpec(value.name, shape or computed, _DTYPES.get(array.dataType, "float32"))


def _shapes(package: Any) -> dict[str, tuple[int | str, ...]]:
    """Output -> its shape in the program: a package with flexible inputs says nothing of it in its description."""
    found: dict[str, tuple[int | str, ...]] = {}
    for function in package.mlProgram.functions.values():
        for block in function.block_specializations.values():
            for value in (value for operation in block.operations for value in operation.outputs):
                axes = value.type.tensorType.dimensions
                found[value.name] = tuple(
                    int(axis.constant.size) if axis.HasField("constant") else f"{value.name}_{n}"
                    for n, axis in enumerate(axes)
                )
    return found


def _precision(package: Any) -> str:
    """int8 when the program has quantize operators on activations, else the type most convolutions compute in."""
    types: list[int] = []
    for function in package.mlProgram.functions.values():
        for block in function.block_specializations.values():
            for operation in block.operations:
                if operation.type == "quantize":
                    return "int8"
                types += [value.type.tensorType.dataType for value in operation.outputs if operation.type != "const"]
    return "fp16" if types.count(_MIL_FLOAT16) * 2 > len(types) else "fp32"
