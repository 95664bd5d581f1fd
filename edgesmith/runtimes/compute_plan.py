"""Core ML's compute plan: which unit of a Mac or phone each operation is meant for, read on a Mac and judged anywhere.

On a Mac (macOS 14.4 or later): `python -m edgesmith.runtimes.compute_plan Net.mlpackage --units ALL`, which writes
compute-plan.json beside the package; from then on placement is told from it. What the plan says is a preference and an
estimate of Core ML, not a measurement. Source: Apple, "MLComputePlan" (device usage, estimated cost).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edgesmith import records
from edgesmith.errors import DamagedArtifact, MissingResource
from edgesmith.runtimes.executed import UNKNOWN, Executed, Told

PLAN = "compute-plan.json"
UNITS = ("ALL", "CPU_AND_NE", "CPU_AND_GPU", "CPU_ONLY")
_UNIT_OF = {
    "MLNeuralEngineComputeDevice": "Neural Engine",
    "MLGPUComputeDevice": "GPU",
    "MLCPUComputeDevice": "CPU",
}
_PRODUCTS = ("conv", "linear", "matmul", "einsum", "attention", "lstm", "gru")
_MOVES = ("cast", "quantize", "dequantize", "transpose", "reshape", "constexpr_")
# Numbers of DataType in Core ML's MIL.proto.
_TYPES = {10: "fp16", 11: "fp32", 12: "fp64", 13: "bf16", 21: "int8", 23: "int32", 31: "uint8"}
_WHOLE = 1_000_000  # what the estimated costs of a model are scaled to


def beside(package: Path) -> Told | None:
    """What a plan beside the package says; None where there is none. Raises: DamagedArtifact."""
    file = package.parent / PLAN
    return read_plan(file.read_text()) if file.is_file() else None


def read_plan(text: str) -> Told:
    """Operations with their unit, type and share of the estimated cost. Raises: DamagedArtifact for another JSON."""
    try:
        plan = json.loads(text)
        operators = tuple(_executed(one) for one in plan["operations"] if one["preferred"] is not None)
        units, system = str(plan["compute_units"]), str(plan["system"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedArtifact("read a compute plan", f"{error!r}", "write it again on a Mac") from error
    asked = "CPU" if units == "CPU_ONLY" else ""  # with several units Core ML is free to choose
    return Told(operators, asked, f"Core ML's compute plan for {units} on {system}, by its estimated cost")


def _executed(one: Mapping[str, Any]) -> Executed:
    kind = str(one["operator"]).rpartition(".")[2]
    outputs = tuple(map(str, one["outputs"]))
    moves = kind.startswith(_MOVES)
    work = 0 if moves else round(_WHOLE * float(one["cost"] or 0.0))
    if kind.startswith(_PRODUCTS):
        work = max(work, 1)  # it multiplies, however little that is
    unit = _UNIT_OF.get(str(one["preferred"]), str(one["preferred"]))
    return Executed(outputs or (kind,), kind, str(one.get("precision") or UNKNOWN), unit, work, moves)


def operations_of(plan: Any, spec: Any) -> Iterator[dict[str, Any]]:
    """Every operation of the main function as compute-plan.json holds it.

    plan: coremltools' MLComputePlan. spec: the package's specification, which knows the types that the plan does not.
    """
    types = dict(_types(spec))
    for operation in plan.model_structure.program.functions["main"].block.operations:
        usage = plan.get_compute_device_usage_for_mlprogram_operation(operation)
        cost = plan.get_estimated_cost_for_mlprogram_operation(operation)
        outputs = [output.name for output in operation.outputs]
        yield {
            "operator": operation.operator_name,
            "outputs": outputs,
            "preferred": type(usage.preferred_compute_device).__name__ if usage is not None else None,
            "supported": [type(one).__name__ for one in usage.supported_compute_devices] if usage is not None else [],
            "cost": cost.weight if cost is not None else None,
            "precision": next((types[name] for name in outputs if name in types), UNKNOWN),
        }


def _types(spec: Any) -> Iterator[tuple[str, str]]:
    """Value -> the type it is computed in: int8 where a product reads what was dequantized just before."""
    for function in spec.mlProgram.functions.values():
        for block in function.block_specializations.values():
            from_integers: set[str] = set()
            for operation in block.operations:
                names = [output.name for output in operation.outputs]
                if operation.type == "dequantize":
                    from_integers.update(names)
                first = next((a.name for key in ("x", "input") for a in operation.inputs[key].arguments), "")
                integer = operation.type.startswith(_PRODUCTS) and first in from_integers
                for output in operation.outputs:
                    kind = _TYPES.get(output.type.tensorType.dataType, UNKNOWN)
                    yield output.name, "int8" if integer else kind


def write_plan(package: Path, units: str = "ALL") -> Path:
    """Ask Core ML for the plan of a package and write it beside it. Raises: MissingResource but on a Mac."""
    if sys.platform != "darwin":
        raise MissingResource("ask Core ML for its compute plan", f"this is {sys.platform}", "do this on a Mac")
    import platform

    from edgesmith.runtimes.coreml_vendor import coremltools

    chosen = coremltools.ComputeUnit[units]
    model = coremltools.models.MLModel(str(package), compute_units=chosen)
    plan = coremltools.models.compute_plan.MLComputePlan.load_from_path(
        model.get_compiled_model_path(), compute_units=chosen
    )
    found = {"compute_units": units, "system": f"macOS {platform.mac_ver()[0]}"}
    found["operations"] = list(operations_of(plan, model.get_spec()))  # type: ignore[assignment]
    records.write_bytes(package.parent / PLAN, (json.dumps(found, indent=1) + "\n").encode())
    return package.parent / PLAN


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write compute-plan.json beside a package, on a Mac.")
    parser.add_argument("package", type=Path)
    parser.add_argument("--units", choices=UNITS, default="ALL")
    asked = parser.parse_args()
    print(write_plan(asked.package, asked.units))
