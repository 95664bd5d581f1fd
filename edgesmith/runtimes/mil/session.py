"""The interpreter as a session: what runs a Core ML artefact where Core ML itself is not."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType

import numpy as np
import torch

from edgesmith.artifact import Exported
from edgesmith.runtimes import compute_plan
from edgesmith.runtimes.executed import Told
from edgesmith.runtimes.mil.model import Model, load
from edgesmith.runtimes.session import RunOptions, check_run, closed
from edgesmith.tensors import Arrays


class MilSession:
    """One planned package. It rounds as the program's types say; taps and injections name tensors of the program."""

    engine = "mil-reference"
    can_tap = True
    can_inject = True
    # An interpreter's time says nothing about a phone: it is never given out as a latency.
    timed = False

    def __init__(self, exported: Exported, options: RunOptions) -> None:
        self._file = exported.file
        torch.set_num_threads(options.threads)
        self._vendor: Model | None = load(exported.file, "fp16")
        self.inputs, self.outputs = exported.inputs, exported.outputs
        self.precision = exported.precision

    def run(self, feed: Arrays, taps: Sequence[str] = (), inject: Arrays | None = None) -> Arrays:
        """The outputs by name, and the tapped tensors by theirs. Raises: UsageError, EngineFailed."""
        check_run(self, feed, taps, inject)
        if self._vendor is None:
            raise closed(self.engine)
        answer = self._vendor.run(feed, taps, inject)
        wanted = [*(spec.name for spec in self.outputs), *taps]
        return {name: np.asarray(answer[name]) for name in wanted}

    def told(self) -> Told | None:
        """What a compute plan beside the package says of a Mac or phone (compute_plan.py); None where there is none."""
        return compute_plan.beside(self._file)

    def __enter__(self) -> MilSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._vendor = None
