"""What a user may ask for: one row a target, pure data.

A target is `<runtime>-<precision>`. What it runs on is a device; a measurement is keyed by both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from edgesmith.errors import UsageError
from edgesmith.quant import (
    S8_AFFINE,
    S8_PER_CHANNEL,
    S8_SYMMETRIC,
    U8_AFFINE,
    BiasOf,
    EdgeQuant,
    QuantPlan,
    QuantSpec,
    SameAs,
)

Precision = Literal["fp32", "fp16", "bf16", "int8"]


S7_PER_CHANNEL = QuantSpec(bits=7, axis=0, narrow=True)

CPU_INSTRUCTION_SETS = ("x86-vnni", "x86", "arm64")
# Instruction sets whose u8 x s8 products saturate in 16 bits: weights keep 7 bits there.
SATURATING = frozenset({"x86"})


@dataclass(frozen=True)
class QuantRules:
    """What a family's int8 kernels take.

    activation: instruction set -> legal specs, best first. fuses: activations that run inside the convolution or add
    before them, so that nothing is quantized in between. quantize_unfused: whether a layer's output must be quantized
    also when the operator behind it stays in float (or the layer itself would not run in int8). fuses_sum: whether a
    convolution adds another value to its sums before it rounds, so that it is not quantized by itself in front of one.
    float_output: whether an integer layer may answer in float, so that outputs of the model need no numbers.
    half_scales: whether the file holds scales in fp16, so that the plan takes such from the start.
    """

    weight: tuple[QuantSpec, ...]
    activation: Mapping[str, tuple[QuantSpec, ...]]
    int32_bias: bool
    prelu: Literal["keep", "max", "depthwise"]
    fuses: frozenset[str] = frozenset({"relu", "clip"})
    quantize_unfused: bool = False
    float_output: bool = True
    half_scales: bool = False
    fuses_sum: bool = False

    def weights(self, instruction_set: str) -> tuple[QuantSpec, ...]:
        """Legal weight specs on an instruction set, best first."""
        return tuple(spec for spec in self.weight if spec.bits < 8 or instruction_set not in SATURATING)


_ANY_CPU_U8 = {isa: (U8_AFFINE,) for isa in CPU_INSTRUCTION_SETS}
_S8_S7 = (S8_PER_CHANNEL, S7_PER_CHANNEL)
_ELTWISE = frozenset(
    {
        "relu",
        "clip",
        "prelu",
        "leaky_relu",
        "silu",
        "hardswish",
        "hardsigmoid",
        "sigmoid",
        "tanh",
        "elu",
        "gelu",
        "mish",
    }
)

# Vendor pages: onnxruntime.ai "Quantize ONNX models"; docs.openvino.ai "Low precision transformations" and "Quantized
# models saturation issue"; docs.nvidia.com TensorRT "Working with quantized types"; coremltools guide "Quantization".
FAMILIES: dict[str, QuantRules] = {
    "ort": QuantRules(_S8_S7, _ANY_CPU_U8, True, "depthwise", quantize_unfused=True),
    "openvino": QuantRules(_S8_S7, _ANY_CPU_U8, True, "max", _ELTWISE, fuses_sum=True),
    "tensorrt": QuantRules((S8_PER_CHANNEL,), {"cuda": (S8_SYMMETRIC,)}, False, "keep", _ELTWISE),
    "coreml": QuantRules(
        (S8_PER_CHANNEL,), {"apple": (U8_AFFINE, S8_SYMMETRIC)}, False, "keep", _ELTWISE, half_scales=True
    ),
    "executorch": QuantRules(
        (S8_PER_CHANNEL,), {"xnnpack": (S8_AFFINE,)}, False, "depthwise", quantize_unfused=True, float_output=False
    ),
}


@dataclass(frozen=True)
class WeightCompression:
    """How weights are stored that are computed with in float; no calibration is needed.

    linear: integers of `bits`, one scale for `block` inputs of an output channel (0: all inputs of the channel).
    palette: indices of `bits` into a table that `channels` output channels share (0: all of the tensor).
    sparse: the share `sparsity` of the smallest weights is zero, the others are stored as they are, or with fewer
    than 16 bits as integers with a scale for an output channel.
    system: the oldest operating system whose Core ML reads it.
    """

    kind: Literal["linear", "palette", "sparse"]
    bits: int = 16
    block: int = 0
    channels: int = 0
    sparsity: float = 0.0
    system: str = "iOS17"


# coremltools guide, "Optimization": tables and scales for parts of a tensor, and 4-bit integers, came with iOS 18.
COMPRESSIONS: dict[str, WeightCompression] = {
    "w8": WeightCompression("linear", 8),
    "w4": WeightCompression("linear", 4, block=32, system="iOS18"),
    "pal8": WeightCompression("palette", 8),
    "pal4": WeightCompression("palette", 4, channels=16, system="iOS18"),
    "pal2": WeightCompression("palette", 2, channels=16, system="iOS18"),
    "sparse": WeightCompression("sparse", sparsity=0.5),
    "sparse8": WeightCompression("sparse", 8, sparsity=0.5, system="iOS18"),
}


@dataclass(frozen=True)
class Target:
    """One row: which exporter writes it, which runtime runs it, in which precision.

    weights: a row of COMPRESSIONS where weights are stored in fewer bits than they are computed with.
    """

    name: str
    exporter: str
    runtime: str
    precision: Precision
    suffix: str
    built_on: Literal["host", "device"] = "host"
    family: str | None = None
    weights: str | None = None

    @property
    def rules(self) -> QuantRules | None:
        return FAMILIES[self.family] if self.family else None

    @property
    def compression(self) -> WeightCompression | None:
        return COMPRESSIONS[self.weights] if self.weights else None


_ROWS = (
    Target("torch-fp32", "torch", "torch", "fp32", ".pt2"),
    Target("ort-fp32", "onnx", "ort", "fp32", ".onnx"),
    Target("ort-int8", "onnx", "ort", "int8", ".onnx", family="ort"),
    Target("torch-cuda-fp32", "torch", "torch-cuda", "fp32", ".pt2"),
    Target("torch-cuda-fp16", "torch", "torch-cuda", "fp16", ".pt2"),
    Target("ort-cuda-fp32", "onnx", "ort-cuda", "fp32", ".onnx"),
    Target("ort-cuda-fp16", "onnx", "ort-cuda", "fp16", ".onnx"),
    Target("openvino-fp32", "openvino", "openvino", "fp32", ".xml"),
    Target("openvino-bf16", "openvino", "openvino", "bf16", ".xml"),
    Target("openvino-int8", "openvino", "openvino", "int8", ".xml", family="openvino"),
    Target("coreml-fp32", "coreml", "coreml", "fp32", ".mlpackage"),
    Target("coreml-fp16", "coreml", "coreml", "fp16", ".mlpackage"),
    Target("coreml-int8", "coreml", "coreml", "int8", ".mlpackage", family="coreml"),
    *(Target(f"coreml-{w}", "coreml", "coreml", "fp16", ".mlpackage", weights=w) for w in COMPRESSIONS),
    Target("executorch-fp32", "executorch", "executorch", "fp32", ".pte"),
    Target("executorch-int8", "executorch", "executorch", "int8", ".pte", family="executorch"),
    Target("coreai-fp32", "coreai", "coreai", "fp32", ".aimodel"),
    Target("tensorrt-fp32", "tensorrt", "tensorrt", "fp32", ".engine", "device"),
    Target("tensorrt-fp16", "tensorrt", "tensorrt", "fp16", ".engine", "device"),
    Target("tensorrt-int8", "tensorrt", "tensorrt", "int8", ".engine", "device", family="tensorrt"),
    Target("tensorrt-rtx-fp32", "tensorrt-rtx", "tensorrt-rtx", "fp32", ".engine"),
    Target("tensorrt-rtx-fp16", "tensorrt-rtx", "tensorrt-rtx", "fp16", ".engine"),
    Target("tensorrt-rtx-int8", "tensorrt-rtx", "tensorrt-rtx", "int8", ".engine", family="tensorrt"),
)
TARGETS: dict[str, Target] = {row.name: row for row in _ROWS}

# Suffix of a file made by anyone -> the runtime that opens it.
RUNTIME_OF_SUFFIX = {
    ".onnx": "ort",
    ".xml": "openvino",
    ".mlpackage": "coreml",
    ".engine": "tensorrt",
    ".pt2": "torch",
    ".pte": "executorch",
}


def target(name: str) -> Target:
    """The row called `name`. Raises: UsageError listing the names there are."""
    if name not in TARGETS:
        raise UsageError(f"target {name!r}", "no such target", f"choose from: {', '.join(TARGETS)}")
    return TARGETS[name]


def rules_of(family: str) -> QuantRules:
    """The rules of a family. Raises: UsageError listing the families there are."""
    if family not in FAMILIES:
        raise UsageError(f"a quantization plan for {family!r}", "no such family", f"choose from: {', '.join(FAMILIES)}")
    return FAMILIES[family]


def check_plan(plan: QuantPlan) -> None:
    """Raise UsageError naming the first edge that breaks a rule of the plan's family, and the rule."""
    for edge in plan.edges:
        check_edge(plan, edge)


def check_edge(plan: QuantPlan, edge: str) -> None:
    """Raise UsageError unless one edge of the plan keeps the rules of its family on its instruction set."""
    how, asked = plan.edges[edge], f"quantize {edge} for {plan.family} on {plan.instruction_set}"
    rules = rules_of(plan.family)
    if isinstance(how, EdgeQuant):
        is_weight = edge.endswith(":weight")
        legal = rules.weights(plan.instruction_set) if is_weight else rules.activation.get(plan.instruction_set, ())
        _check_spec(asked, "weights" if is_weight else "activations", how, legal)
        return
    if isinstance(how, BiasOf) and not rules.int32_bias:
        raise UsageError(asked, f"rule: {plan.family} takes no int32 bias", "leave the bias in float")
    needs = [how.edge] if isinstance(how, SameAs) else [how.input, how.weight]
    absent = [name for name in needs if name not in plan.edges]
    if absent:
        raise UsageError(asked, f"it takes its numbers from {absent[0]}, which has none", "derive the plan again")


def _check_spec(asked: str, kind: str, quant: EdgeQuant, legal: tuple[QuantSpec, ...]) -> None:
    if quant.spec not in legal:
        rule = f"{kind} must be {' or '.join(map(describe, legal)) or 'left in float: no integer kernels there'}"
        raise UsageError(
            asked, f"{describe(quant.spec)}, but rule: {rule}", "derive the plan for this family and device"
        )
    if quant.spec.symmetric and np.any(quant.zero_point):
        raise UsageError(asked, "a zero point that is not 0, but rule: symmetric", "derive the plan again")
    if not (np.all(np.isfinite(quant.scale)) and np.all(np.asarray(quant.scale) > 0)):
        raise UsageError(asked, "a scale that is not positive and finite", "derive the plan again")


def describe(spec: QuantSpec) -> str:
    """A spec in words: "u8 affine per tensor"."""
    kind = "symmetric" if spec.symmetric else "affine"
    return f"{'s' if spec.signed else 'u'}{spec.bits} {kind} per {'tensor' if spec.axis is None else 'channel'}"


def foreign_plan(planned: str, here: str) -> tuple[str, ...]:
    """A warning where integers were planned for another processor than the one they run on; none for float models."""
    if planned not in CPU_INSTRUCTION_SETS or planned == here:
        return ()
    return (f"warning: quantized for {planned} but run on {here}: a plan made for it may be faster and more accurate",)
