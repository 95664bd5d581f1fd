"""What stands in the files of every format: integers, scales and zero points, read by the vendors' own readers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgesmith.export.coreml import ct


def core_ml_operations(package: Path) -> list[Any]:
    """The operations of an .mlpackage in order, constants with their values."""
    from coremltools.converters.mil.frontend.milproto.load import load

    model = ct.models.MLModel(str(package), skip_model_load=True)
    spec = model.get_spec()
    program = load(spec, specification_version=spec.specificationVersion, file_weights_dir=model.weights_dir)
    return list(program.functions["main"].operations)
