"""Programs of one operation, built with coremltools' Builder, written as a package has them, run here."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
import torch
from coremltools.converters.mil import Builder as mb
from coremltools.converters.mil.backend.mil.load import MILProtoExporter
from coremltools.converters.mil.mil import types

from edgesmith.runtimes.mil.blob import WeightFile
from edgesmith.runtimes.mil.numerics import mode as mode_named
from edgesmith.runtimes.mil.plan import Plan, plan

TARGETS = {"ios15": ct.target.iOS15, "ios16": ct.target.iOS16, "ios17": ct.target.iOS17, "ios18": ct.target.iOS18}
_TYPES = {"float32": types.fp32, "float16": types.fp16, "int32": types.int32, "bool": types.bool}
_TYPES |= {name: getattr(types, name) for name in ("int8", "uint8", "int16", "uint16")}


def spec(shape: tuple[Any, ...], dtype: str = "float32") -> Any:
    """The type of one input of a program; a size may be a symbol of coremltools (get_new_symbol())."""
    return mb.TensorSpec(shape, dtype=_TYPES[dtype])


def exported(body: Callable[..., Any], inputs: Mapping[str, Any], opset: str, folder: Path) -> Any:
    """The Program message of a function written with the Builder; its weights lie in `folder`.

    inputs: name -> spec(...), or mb.StateTensorSpec. `body` takes them by these names. Nothing is optimised or folded.
    """
    names = ", ".join(inputs)
    # The Builder names the inputs after the parameters of the function it decorates.
    given = ", ".join(f"{name}={name}" for name in inputs)
    named: Any = eval(f"lambda {names}: body({given})", {"body": body})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = mb.program(input_specs=list(inputs.values()), opset_version=TARGETS[opset])(named)
        return MILProtoExporter(program, str(folder), TARGETS[opset].value).export()


def planned(body: Callable[..., Any], inputs: Mapping[str, Any], opset: str = "ios17", mode: str = "fp32") -> Plan:
    """The plan of a function written with the Builder."""
    with tempfile.TemporaryDirectory() as folder:
        program = exported(body, inputs, opset, Path(folder))
        return plan(
            program.functions["main"], lambda name: WeightFile(Path(folder) / Path(name).name), mode_named(mode)
        )


def run(
    body: Callable[..., Any], feed: Mapping[str, np.ndarray], opset: str = "ios17", mode: str = "fp32"
) -> list[np.ndarray]:
    """Build a program around `body`, a function of the Builder's variables, and run it on `feed`.

    The outputs in order; every MIL float comes as float32 (rounded or not), other types as the carriers of types.py.
    """
    made = planned(body, {name: spec(value.shape, value.dtype.name) for name, value in feed.items()}, opset, mode)
    values = {}
    for name, value in feed.items():
        tensor = torch.from_numpy(np.array(value.astype(np.int32) if value.dtype == np.uint16 else value))
        values[name] = tensor.float() if value.dtype == np.float16 else tensor
    with torch.inference_mode():
        return [value.numpy() if isinstance(value, torch.Tensor) else value for value in made.run(values).values()]


def run_op(
    name: str, feed: Mapping[str, np.ndarray], opset: str = "ios17", mode: str = "fp32", **constants: Any
) -> list[np.ndarray]:
    """One operation: `feed` are its inputs that are computed at run time, `constants` those that are known.

    Example: run_op("transpose", {"x": x}, perm=[1, 0]). For an input of several values (concat), or several
    operations, use `run` with a body of your own: run(lambda a, b: mb.concat(values=[a, b], axis=0), {"a": a, "b": b}).
    """
    return run(lambda **variables: getattr(mb, name)(**variables, **constants), feed, opset, mode)
