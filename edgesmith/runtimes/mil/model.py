"""A package that is ready to run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgesmith.errors import UsageError
from edgesmith.runtimes.mil.numerics import mode as mode_named
from edgesmith.runtimes.mil.package import read_package
from edgesmith.runtimes.mil.plan import plan
from edgesmith.runtimes.mil.registry import Box
from edgesmith.runtimes.mil.types import CARRIER


class Model:
    """A planned function of a package. Call it with arrays by name.

    State is a dictionary that `make_state` gives and every call with it changes.
    """

    def __init__(self, path: Path, mode: str = "fp32", function: str = "") -> None:
        package = read_package(path)
        functions = package.spec.mlProgram.functions
        name = function or package.spec.description.defaultFunctionName or "main"
        if name not in functions:
            raise UsageError(f"run function {name!r} of {path.name}", f"there are {sorted(functions)}", "name one")
        self._plan = plan(functions[name], package.weights, mode_named(mode), name)

    def __call__(self, state: dict[str, Box] | None = None, **inputs: Any) -> dict[str, Any]:
        """The outputs by name."""
        return self.run(inputs, state=state)

    def run(
        self, feed: dict[str, Any], taps: Sequence[str] = (), state: dict[str, Box] | None = None
    ) -> dict[str, Any]:
        """The outputs and the tapped tensors by name."""
        values = {name: torch.from_numpy(np.asarray(value)) for name, value in feed.items()}
        values = {name: v.to(CARRIER[self._plan.inputs[name][1].dtype]) for name, v in values.items()}
        with torch.inference_mode():
            found = self._plan.run(values, taps)
        return {name: value.numpy() for name, value in found.items()}


def load(path: str | Path, mode: str = "fp32", function: str = "") -> Model:
    """Read and plan an .mlpackage."""
    return Model(Path(path), mode, function)
