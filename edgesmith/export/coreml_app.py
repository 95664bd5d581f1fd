"""A Core ML package as an app wants it: pictures in, labels out, with its author and flexible shapes.

The artefacts of targets.py take and give tensors, which is what can be compared. This is the same network with the
preprocessing inside, for an app that hands over camera pictures:

    options = AppOptions(picture=Preprocessing((224, 224), MEAN, STD), labels=("cat", "dog"), author="A. Person")
    write_app(network, {"image": torch.zeros(1, 3, 224, 224)}, Path("Cats.mlpackage"), options)
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

import edgesmith
from edgesmith.errors import ExportFailed, UsageError
from edgesmith.export.coreml import _hushed, ct
from edgesmith.tensors import Preprocessing

Range = tuple[int, int]


@dataclass(frozen=True)
class AppOptions:
    """What an app's package is told beyond its weights.

    picture: the only input is a picture; scale and bias of the preprocessing become operations of the program.
    labels: of a classifier whose output are probabilities. shapes: input -> the shapes that are allowed, the first is
    the default. ranges: input -> axis -> smallest and largest size. Fixed shapes run fastest: an enumerated shape is
    compiled one by one on the device, and a range may keep the network off the Neural Engine (coremltools guide,
    "Flexible Input Shapes"); neither cost can be measured here. system: the oldest one that must run it.
    """

    picture: Preprocessing | None = None
    labels: tuple[str, ...] = ()
    shapes: Mapping[str, tuple[tuple[int, ...], ...]] = field(default_factory=dict)
    ranges: Mapping[str, Mapping[int, Range]] = field(default_factory=dict)
    precision: Literal["fp16", "fp32"] = "fp16"
    system: Literal["iOS15", "iOS16", "iOS17", "iOS18"] = "iOS17"
    author: str = ""
    licence: str = ""
    version: str = ""
    description: str = ""


def write_app(module: nn.Module, example: Mapping[str, torch.Tensor], package: Path, options: AppOptions) -> Path:
    """Convert a module and write the package. Raises: UsageError for options that do not fit, ExportFailed."""
    _check(example, options)
    axes = {name: _flexible(name, tensor, options) for name, tensor in example.items()}
    with _hushed() as heard:
        try:
            dynamic = {name: {axis: torch.export.Dim.DYNAMIC for axis in found} for name, found in axes.items()}
            program = torch.export.export(module.eval(), (), dict(example), dynamic_shapes=dynamic)
            model = ct.convert(program.run_decompositions({}), **_arguments(example, axes, options))
        except Exception as error:  # coremltools raises whatever its translations raise
            said = next(iter(str(error).strip().splitlines()), type(error).__name__) or heard.getvalue()
            todo = "see whether the network has fixed sizes inside, or export a target to learn the operator"
            raise ExportFailed(f"write {package.name}", said, todo) from error
        _describe(model, options)
        model.save(str(package))
    return package


def _check(example: Mapping[str, torch.Tensor], options: AppOptions) -> None:
    strange = sorted({*options.shapes, *options.ranges} - set(example))
    if strange:
        raise UsageError(f"flexible shapes of {strange}", f"the inputs are {sorted(example)}", "name inputs")
    both = sorted(set(options.shapes) & set(options.ranges))
    if both:
        raise UsageError(f"shapes and ranges of {both}", "an input has one of the two", "leave one out")
    if options.picture is None:
        return
    wanted = (1, options.picture.channels, *options.picture.size)
    found = [tuple(tensor.shape) for tensor in example.values()]
    if found != [wanted] or options.shapes or options.ranges:
        raise UsageError(
            f"a picture as input of shape {wanted}", f"inputs of shapes {found}", "one input of that shape"
        )


def _flexible(name: str, tensor: torch.Tensor, options: AppOptions) -> dict[int, Range]:
    """The axes of an input that have several sizes, with the smallest and the largest."""
    if name in options.ranges:
        return dict(options.ranges[name])
    shapes = options.shapes.get(name, ())
    if any(len(shape) != tensor.dim() for shape in shapes):
        raise UsageError(f"shapes {list(shapes)} of {name!r}", f"its rank is {tensor.dim()}", "give whole shapes")
    sizes = {axis: {shape[axis] for shape in shapes} for axis in range(tensor.dim())}
    return {axis: (min(found), max(found)) for axis, found in sizes.items() if len(found) > 1}


def _arguments(
    example: Mapping[str, torch.Tensor], axes: Mapping[str, dict[int, Range]], options: AppOptions
) -> dict[str, Any]:
    return {
        "inputs": [_input(name, tensor, axes[name], options) for name, tensor in example.items()],
        "classifier_config": ct.ClassifierConfig(list(options.labels)) if options.labels else None,
        "minimum_deployment_target": ct.target[options.system],
        "compute_precision": ct.precision.FLOAT32 if options.precision == "fp32" else ct.precision.FLOAT16,
        "convert_to": "mlprogram",
        "skip_model_load": True,
    }


def _input(name: str, tensor: torch.Tensor, axes: Mapping[int, Range], options: AppOptions) -> Any:
    if options.picture is not None:
        return _picture(name, tensor, options.picture)
    shape: Any = [
        ct.RangeDim(*axes[axis], default=min(max(size, axes[axis][0]), axes[axis][1])) if axis in axes else size
        for axis, size in enumerate(tensor.shape)
    ]
    if name in options.shapes:
        shape = ct.EnumeratedShapes([list(one) for one in options.shapes[name]], list(options.shapes[name][0]))
    return ct.TensorType(name=name, shape=shape, dtype=np.float32 if tensor.is_floating_point() else np.int32)


def _picture(name: str, tensor: torch.Tensor, how: Preprocessing) -> Any:
    """(x / 255 - mean) / std as scale and bias; an array of scales has the shape of the channels."""
    layouts = {"rgb": ct.colorlayout.RGB, "bgr": ct.colorlayout.BGR, "gray": ct.colorlayout.GRAYSCALE}
    scale, bias = 1 / (255 * np.asarray(how.std)), -np.asarray(how.mean) / np.asarray(how.std)
    if how.color == "gray":
        given: dict[str, Any] = {"scale": float(scale[0]), "bias": float(bias[0])}
    else:
        given = {"scale": scale.reshape(-1, 1, 1).tolist(), "bias": bias.tolist()}
    return ct.ImageType(name=name, shape=tuple(tensor.shape), color_layout=layouts[how.color], **given)


def _describe(model: Any, options: AppOptions) -> None:
    model.author, model.license, model.version = options.author, options.licence, options.version
    model.short_description = options.description
    notes = model.user_defined_metadata
    notes["edgesmith"] = edgesmith.__version__
    notes.pop("com.github.apple.coremltools.conversion_date", None)
    if options.picture is not None:
        notes["preprocessing"] = json.dumps(asdict(options.picture))
