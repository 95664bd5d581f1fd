"""What a user may ask for: one row a target, pure data.

A target is `<runtime>-<precision>`. What it runs on is a device; a measurement is keyed by both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgesmith.errors import UsageError
from edgesmith.quant import S8_PER_CHANNEL, S8_SYMMETRIC, U8_AFFINE, QuantSpec

Precision = Literal["fp32", "fp16", "bf16", "int8"]


@dataclass(frozen=True)
class QuantRules:
    """What a family's int8 kernels take.

    activation: instruction set -> legal specs, best first. output_follows_conv: whether the output of a
    convolution is quantized before its activation ("always", or "fused": after the activation only).
    """

    weight: tuple[QuantSpec, ...]
    activation: dict[str, tuple[QuantSpec, ...]]
    int32_bias: bool
    prelu: Literal["keep", "max", "depthwise"]


S7_PER_CHANNEL = QuantSpec(bits=7, axis=0, narrow=True)
_ANY_CPU_U8 = {isa: (U8_AFFINE,) for isa in ("x86-vnni", "x86", "arm64")}

# Vendor pages: onnxruntime.ai "Quantize ONNX models"; docs.openvino.ai "Low precision transformations";
# docs.nvidia.com TensorRT "Working with quantized types"; coremltools guide "Quantization overview".
FAMILIES: dict[str, QuantRules] = {
    # On x86 without VNNI, u8 x s8 products saturate in 16 bits, so weights keep 7 bits there.
    "ort": QuantRules((S8_PER_CHANNEL, S7_PER_CHANNEL), _ANY_CPU_U8, True, "depthwise"),
    "openvino": QuantRules((S8_PER_CHANNEL,), _ANY_CPU_U8, True, "max"),
    "tensorrt": QuantRules((S8_PER_CHANNEL,), {"cuda": (S8_SYMMETRIC,)}, False, "keep"),
    "coreml": QuantRules((S8_PER_CHANNEL,), {"apple": (U8_AFFINE, S8_SYMMETRIC)}, False, "keep"),
}


@dataclass(frozen=True)
class Target:
    """One row: which exporter writes it, which runtime runs it, in which precision."""

    name: str
    exporter: str
    runtime: str
    precision: Precision
    suffix: str
    built_on: Literal["host", "device"] = "host"
    family: str | None = None

    @property
    def rules(self) -> QuantRules | None:
        return FAMILIES[self.family] if self.family else None


_ROWS = (
    Target("torch-fp32", "torch", "torch", "fp32", ".pt2"),
    Target("ort-fp32", "onnx", "ort", "fp32", ".onnx"),
    Target("ort-int8", "onnx", "ort", "int8", ".onnx", family="ort"),
    Target("openvino-fp32", "openvino", "openvino", "fp32", ".xml"),
    Target("openvino-bf16", "openvino", "openvino", "bf16", ".xml"),
    Target("openvino-int8", "openvino", "openvino", "int8", ".xml", family="openvino"),
    Target("coreml-fp32", "coreml", "coreml", "fp32", ".mlpackage"),
    Target("coreml-fp16", "coreml", "coreml", "fp16", ".mlpackage"),
    Target("coreml-int8", "coreml", "coreml", "int8", ".mlpackage", family="coreml"),
    Target("tensorrt-fp32", "tensorrt", "tensorrt", "fp32", ".engine", "device"),
    Target("tensorrt-fp16", "tensorrt", "tensorrt", "fp16", ".engine", "device"),
    Target("tensorrt-int8", "tensorrt", "tensorrt", "int8", ".engine", "device", family="tensorrt"),
    Target("tensorrt-rtx-fp32", "tensorrt-rtx", "tensorrt-rtx", "fp32", ".engine"),
    Target("tensorrt-rtx-fp16", "tensorrt-rtx", "tensorrt-rtx", "fp16", ".engine"),
    Target("tensorrt-rtx-int8", "tensorrt-rtx", "tensorrt-rtx", "int8", ".engine", family="tensorrt"),
)
TARGETS: dict[str, Target] = {row.name: row for row in _ROWS}

# Suffix of a file made by anyone -> the runtime that opens it.
RUNTIME_OF_SUFFIX = {".onnx": "ort", ".xml": "openvino", ".mlpackage": "coreml", ".engine": "tensorrt", ".pt2": "torch"}


def target(name: str) -> Target:
    """The row called `name`. Raises: UsageError listing the names there are."""
    if name not in TARGETS:
        raise UsageError(f"target {name!r}", "no such target", f"choose from: {', '.join(TARGETS)}")
    return TARGETS[name]
