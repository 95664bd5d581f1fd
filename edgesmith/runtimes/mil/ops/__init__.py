"""The operations, one file a family. Reading one registers what stands in it."""

import importlib

FAMILIES = (
    "activation",
    "attention",
    "classifier",
    "constexpr",
    "control",
    "conv",
    "elementwise",
    "gathering",
    "joining",
    "linear",
    "lists",
    "lstm",
    "making",
    "normalisation",
    "pooling",
    "quantization",
    "recurrent",
    "reduction",
    "reshaping",
    "resizing",
    "sampling",
    "scattering",
    "slicing",
    "sorting",
    "state",
)


def load() -> None:
    """Read every family."""
    for family in FAMILIES:
        importlib.import_module(f"edgesmith.runtimes.mil.ops.{family}")
