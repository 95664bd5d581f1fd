"""A runtime without a vendor: a JSON file says what it answers, how long it takes and how it fails."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal

import numpy as np

from edgesmith import records
from edgesmith.artifact import Exported, save_exported
from edgesmith.errors import EngineFailed, MissingPackage, MissingResource
from edgesmith.runtimes.executed import Executed, Told
from edgesmith.runtimes.session import RunOptions, check_run, closed, foreign
from edgesmith.tensors import Arrays, TensorSpec

MAIN = "model.null"
_FOREVER_S = 3600.0


@dataclass(frozen=True)
class NullModel:
    """What the file says.

    answer "echo": output k is a copy of input k. "sum": every element of an output row is the sum of all inputs
    of this row. accident happens at run number `at` (0: while loading); "kill" is SIGKILL, "print" writes to
    the process's standard output as noisy libraries do. operators: what it says it executes; none: it cannot tell.
    device_ms: what an accelerator of it would take; 0: it has none.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    answer: Literal["echo", "sum"] = "sum"
    delay_ms: float = 0.0
    accident: Literal["", "abort", "kill", "hang", "raise", "print", "no-package", "no-device"] = ""
    at: int = 0
    operators: tuple[Executed, ...] = ()
    unit: str = "null"
    device_ms: float = 0.0


class NullSession:
    """Answers by the rule of its file."""

    engine = "null"
    can_tap = False
    can_inject = False

    def __init__(self, model: NullModel, precision: str) -> None:
        self._vendor: NullModel | None = model
        self._runs = 0
        self.inputs, self.outputs, self.precision = model.inputs, model.outputs, precision
        _accident(model, 0)

    def run(self, feed: Arrays, taps: Sequence[str] = (), inject: Arrays | None = None) -> Arrays:
        """The outputs by name. Raises: UsageError, EngineFailed."""
        check_run(self, feed, taps, inject)
        if self._vendor is None:
            raise closed(self.engine)
        self._runs += 1
        _accident(self._vendor, self._runs)
        time.sleep(self._vendor.delay_ms / 1000)
        if self._vendor.answer == "echo":
            return {out.name: np.array(feed[spec.name]) for spec, out in zip(self.inputs, self.outputs)}
        rows = len(next(iter(feed.values())))
        total = sum(array.reshape(rows, -1).sum(1) for array in feed.values())
        return {spec.name: _filled(spec, np.asarray(total)) for spec in self.outputs}

    def told(self) -> Told | None:
        """The operators of the file. Raises: UsageError."""
        if self._vendor is None:
            raise closed(self.engine)
        return Told(self._vendor.operators, self._vendor.unit, "the file") if self._vendor.operators else None

    def device_ms(self, feeds: Sequence[Arrays], runs: int) -> tuple[float, ...]:
        """The file's number for every run, none where it has none."""
        return (self._vendor.device_ms,) * runs if self._vendor is not None and self._vendor.device_ms else ()

    def __enter__(self) -> NullSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._vendor = None


class NullRuntime:
    """The in-package fake."""

    name = "null"

    @staticmethod
    def version() -> str:
        """A fixed version."""
        return "1"

    @staticmethod
    def open(exported: Exported, options: RunOptions) -> NullSession:
        """Read the file. Raises: DamagedArtifact, MissingResource."""
        return NullSession(records.load(NullModel, exported.file), exported.precision)

    @staticmethod
    def describe(file: Path) -> Exported:
        """Inputs and outputs as the file says."""
        model = records.load(NullModel, file)
        return foreign("null", "fp32", file, (model.inputs, model.outputs))

    @staticmethod
    def companions(file: Path) -> tuple[Path, ...]:
        """None."""
        return ()


def write(folder: Path, model: NullModel) -> Exported:
    """Make a sealed artefact of the null runtime in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    records.save(folder / MAIN, model)
    return save_exported(folder, NullRuntime.describe(folder / MAIN), None)


def _filled(spec: TensorSpec, total: np.ndarray) -> np.ndarray:
    shape = spec.concrete(len(total))
    column = total.reshape(-1, *(1,) * (len(shape) - 1))
    return np.array(np.broadcast_to(column, shape), dtype=spec.dtype)


def _accident(model: NullModel, run: int) -> None:
    if model.accident == "print":
        os.write(1, b"a vendor's line on standard output\n")
    if run != model.at:
        return
    if model.accident == "abort":
        os.abort()
    if model.accident == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if model.accident == "hang":
        time.sleep(_FOREVER_S)
    if model.accident == "raise":
        raise EngineFailed("run the null model", "it was told to fail", "tell it otherwise")
    if model.accident == "no-package":
        raise MissingPackage("open the null model", "told that a package is absent", "tell it otherwise")
    if model.accident == "no-device":
        raise MissingResource("open the null model", "told that a device is absent", "tell it otherwise")
