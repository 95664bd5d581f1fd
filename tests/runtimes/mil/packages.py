"""Small packages of every kind, made by coremltools."""

from __future__ import annotations

import functools
import shutil
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import coremltools as ct
import coremltools.optimize.coreml as cto
import torch
from torch import Tensor, nn

from tests.models import tiny

IMAGE = ct.TensorType(name="image", shape=(1, 3, 8, 8))


class Total(nn.Module):
    """Adds its input to what it was given before."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("total", torch.zeros(1, 4))

    def forward(self, x: Tensor) -> Tensor:
        self.total.add_(x)
        return self.total * 2.0


def _convert(module: nn.Module, inputs: list[Any], target: Any = ct.target.iOS17, **options: Any) -> Any:
    shapes = [getattr(one.shape, "shape", (1, 3, 8, 8)) for one in inputs]
    example = tuple(torch.zeros(*(size if isinstance(size, int) else 8 for size in shape)) for shape in shapes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(module, example, check_trace=False)
        return ct.convert(
            traced, inputs=inputs, convert_to="mlprogram", minimum_deployment_target=target, skip_model_load=True,
            **{"compute_precision": ct.precision.FLOAT32, **options},
        )  # fmt: skip


def _flexible(shape: Any) -> Any:
    return _convert(tiny("conv-bn-relu"), [ct.TensorType(name="image", shape=shape)])


def _picture(layout: Any) -> Any:
    pictures = [
        ct.ImageType(name="image", shape=(1, 3, 8, 8), scale=1 / 127.5, bias=[-1, -0.5, 0], color_layout=layout)
    ]
    return _convert(tiny("linear"), pictures)


def _quantized(base: Callable[[], Any]) -> Any:
    config = cto.OpLinearQuantizerConfig(weight_threshold=0)
    return cto.linear_quantize_weights(base(), cto.OptimizationConfig(global_config=config))


KINDS: dict[str, Callable[[], Any]] = {
    "float": lambda: _convert(tiny("depthwise"), [IMAGE]),
    "half": lambda: _convert(tiny("depthwise"), [IMAGE], compute_precision=ct.precision.FLOAT16),
    "int8": lambda: _quantized(KINDS["float"]),
    "labels": lambda: _convert(tiny("linear"), [IMAGE], classifier_config=ct.ClassifierConfig(list("abcde"))),
    "numbers": lambda: _convert(tiny("linear"), [IMAGE], classifier_config=ct.ClassifierConfig([3, 1, 4, 15, 9])),
    "rgb": lambda: _picture(ct.colorlayout.RGB),
    "bgr": lambda: _picture(ct.colorlayout.BGR),
    "range": lambda: _flexible((1, 3, ct.RangeDim(4, 12, 8), ct.RangeDim(4, 12, 8))),
    "enumerated": lambda: _flexible(ct.EnumeratedShapes([(1, 3, 8, 8), (1, 3, 4, 6)])),
    "state": lambda: _convert(
        Total(),
        [ct.TensorType(name="x", shape=(1, 4))],
        ct.target.iOS18,
        states=[ct.StateType(wrapped_type=ct.TensorType(shape=(1, 4)), name="total")],
        compute_precision=ct.precision.FLOAT16,
    ),
}


@functools.cache
def _made(kind: str) -> Path:
    path = Path(tempfile.mkdtemp()) / "model.mlpackage"
    KINDS[kind]().save(str(path))
    return path


def package(kind: str, folder: Path) -> Path:
    """A copy of a package that the caller may change."""
    return Path(shutil.copytree(_made(kind), folder / "model.mlpackage"))
