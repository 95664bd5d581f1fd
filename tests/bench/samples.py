"""Null-runtime candidates for the tests of the bench."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgesmith.artifact import Exported
from edgesmith.bench.job import Candidate, Job, Schedule
from edgesmith.runtimes.null import NullModel, write
from edgesmith.tensors import Arrays, TensorSpec

X = TensorSpec("x", ("batch", 2))
Y = TensorSpec("y", ("batch", 1))
QUICK = Schedule(blocks=3, block_size=4, warmup=2)


def model(folder: Path, accident: str = "", at: int = 0, **options) -> Exported:
    """A null artefact that sums its input."""
    return write(folder, NullModel((X,), (Y,), accident=accident, at=at, **options))  # type: ignore[arg-type]


def rows(count: int = 5) -> Arrays:
    return {"x": np.arange(2 * count, dtype=np.float32).reshape(count, 2) + 1}


def sums(inputs: Arrays) -> np.ndarray:
    return inputs["x"].sum(1, keepdims=True)


def job(*names: str, kind: str = "latency", schedule: Schedule = QUICK, timeout_s: float = 60.0) -> Job:
    candidates = tuple(Candidate(name, f"model-{n}") for n, name in enumerate(names))
    return Job(kind, candidates, names[0], schedule, "tensors", timeout_s=timeout_s)  # type: ignore[arg-type]
