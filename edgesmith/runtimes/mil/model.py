"""A package that is ready to run: arrays in, arrays out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgesmith.errors import EngineFailed, UsageError
from edgesmith.runtimes.mil import limits
from edgesmith.runtimes.mil.features import Feature, features_of, fill_in, image_of, tensor_of
from edgesmith.runtimes.mil.numerics import mode as mode_named
from edgesmith.runtimes.mil.package import read_package
from edgesmith.runtimes.mil.plan import Plan, plan
from edgesmith.runtimes.mil.registry import Box
from edgesmith.runtimes.mil.types import CARRIER, NUMPY, TensorType

State = dict[str, Box]


class Model:
    """One function of a package, planned once; calling it runs it.

    inputs, outputs: what the package says of them, by name (features.py). states: the names of what it keeps from call
    to call. mode: where floats are rounded (numerics.py).
    """

    def __init__(self, path: Path, mode: str = "fp32", function: str = "") -> None:
        numerics = mode_named(mode)
        package = read_package(path)
        program, described = package.spec.mlProgram, package.spec.description
        name = function or described.defaultFunctionName or "main"
        if name not in program.functions:
            found = f"there are {', '.join(sorted(program.functions)) or 'none'}"
            raise UsageError(f"run function {name!r} of {path.name}", found, "name one of them")
        self.mode = numerics.name
        self._plan: Plan = plan(program.functions[name], package.weights, numerics, name)
        # A package of several functions describes each; one of a single function describes it once.
        own = next((one for one in described.functions if one.name == name), described)
        self.inputs, self.outputs = features_of(own.input), features_of(own.output)
        self.states = tuple(key for key, (_, kind) in self._plan.inputs.items() if kind.container == "state")
        self._check_description(path)

    @property
    def tensors(self) -> tuple[str, ...]:
        """The names of every tensor that `run` can tap."""
        return tuple(self._plan.names)

    def make_state(self) -> State:
        """A state of zeros, which each call it is given to changes. Raises: EngineFailed for one too large."""
        return {name: _zeros(self._plan.inputs[name][1], name) for name in self.states}

    def __call__(self, state: State | None = None, **inputs: Any) -> dict[str, Any]:
        """The outputs by name: arrays, and for a classifier its label and the probability of every class.

        An image is uint8 RGB (H, W, 3), or (H, W) in grey, or its tensor. Without a state a fresh one is used.
        Raises: UsageError for inputs that do not fit, EngineFailed naming the operation that failed.
        """
        return self.run(inputs, state=state)

    def run(
        self,
        feed: Mapping[str, Any],
        taps: Sequence[str] = (),
        inject: Mapping[str, np.ndarray] | None = None,
        state: State | None = None,
    ) -> dict[str, Any]:
        """As a call; beside the outputs also the tensors of the program that `taps` names, as float32.

        inject: arrays that stand in the place of what the program computes for these names.
        """
        missing = [name for name in (*taps, *(inject or {})) if name not in self._plan.names]
        if missing:
            raise UsageError(f"tap or inject {missing}", "no such tensors", "name outputs of operations of the program")
        values: dict[str, Any] = self._values(feed)
        values |= self._boxes(state)
        with torch.inference_mode():
            given = {name: torch.from_numpy(np.array(array)) for name, array in (inject or {}).items()}
            found = self._plan.run(values, tuple(taps), given)
        answer = {name: self._answer(name, found[name]) for name in self._plan.outputs}
        return answer | {name: _array(found[name]) for name in taps if name not in answer}

    def _values(self, feed: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        wanted = [name for name in self._plan.inputs if name not in self.states]
        given = fill_in(self.inputs, feed)
        if set(given) != set(wanted):
            raise UsageError(f"inputs {sorted(wanted)}", f"got {sorted(feed)}", "feed every input by its name")
        made = {}
        for name in wanted:
            kind = self._plan.inputs[name][1]
            made[name] = tensor_of(self.inputs[name], kind, given[name])
            if self._plan.numerics.rounds and kind.dtype == "fp16":
                made[name] = made[name].half().float()
        return made

    def _boxes(self, state: State | None) -> State:
        boxes = self.make_state() if state is None else state
        if set(boxes) != set(self.states):
            found = f"got {sorted(boxes)}"
            raise UsageError(f"states {sorted(self.states)}", found, "give what make_state of this model gave")
        return boxes

    def _answer(self, name: str, value: Any) -> Any:
        feature, kind = self.outputs.get(name), self._plan.outputs[name][1]
        if not isinstance(value, torch.Tensor):
            return value
        if feature is not None and feature.kind == "image":
            return image_of(feature, value)
        array = _array(value)
        return array.item() if array.ndim == 0 and kind.dtype == "int64" else array.astype(NUMPY[kind.dtype])

    def _check_description(self, path: Path) -> None:
        """What is described and what the program takes must be the same names."""
        program = {name for name in self._plan.inputs if name not in self.states}
        if set(self.inputs) != program or not set(self.outputs) <= set(self._plan.outputs):
            found = f"described {sorted(self.inputs)} -> {sorted(self.outputs)}"
            found += f", the program has {sorted(program)} -> {sorted(self._plan.outputs)}"
            raise EngineFailed(f"load {path.name}", found, "convert the model again")


def load(path: str | Path, mode: str = "fp32", function: str = "") -> Model:
    """Read and plan an .mlpackage, on any system.

    mode: "fp32" (exact), "fp16" (rounds as the program's types say) or "ane-like" (a pessimistic estimate).
    Raises: MissingResource, DamagedArtifact, UsageError for a model that is no ML Program, EngineFailed naming an
    operation that is not known.
    """
    return Model(Path(path), mode, function)


def _zeros(kind: TensorType, name: str) -> Box:
    if kind.shape is None or None in kind.shape or kind.dtype not in CARRIER:
        raise EngineFailed(f"make the state {name!r}", f"of {kind}", "a state has a known shape")
    shape = tuple(int(size or 0) for size in kind.shape)
    limits.check_size(shape)
    return Box(torch.zeros(shape, dtype=CARRIER[kind.dtype]))


def _array(value: torch.Tensor) -> np.ndarray:
    """A copy: a result may be a view of an input, of a constant or of another result."""
    return np.array(value.numpy())


__all__ = ["Feature", "Model", "State", "load"]
