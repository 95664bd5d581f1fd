"""ExecuTorch (model.pte) with its XNNPACK backend, which runs on ARM and x86 alike.

Seen with executorch 1.5.1: the package leaves every pinned version as it is; its memory planner wants a bound for a
dynamic batch; an integer layer is taken only when its output is quantized as well (float_output in targets.py); a .pte
has no names, so ours are in a constant method of it, which runtimes/executorch.py reads.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch.export import ExportedProgram

from edgesmith import records
from edgesmith.artifact import Exported
from edgesmith.export.exporter import decomposed, failure, layer_names, prepared, quiet, record
from edgesmith.graph.capture import Program
from edgesmith.quant import QuantPlan
from edgesmith.targets import Target

with quiet():
    import executorch.kernels.quantized  # noqa: F401  registers what is left of quantize operators outside of XNNPACK
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

LARGEST_BATCH = 64
SPECS = "edgesmith_specs"  # the constant method with inputs and outputs as JSON


def export(program: Program, plan: QuantPlan | None, target: Target, out: Path) -> Exported:
    """Write model.pte. Raises: ExportFailed naming the operator and the module path."""
    lowered = prepared(program, plan, target)
    exported = decomposed(lowered, LARGEST_BATCH if lowered.dynamic_batch else None)
    content, left = _lowered(lowered, exported, target)
    records.write_bytes(out / f"model{target.suffix}", content)
    names = layer_names(lowered, exported, {spec.name for spec in lowered.outputs})
    notes = (f"not taken by XNNPACK, run by ExecuTorch's portable kernels: {', '.join(left)}",) if left else ()
    return record(program, plan, target, out, names, notes)


def _lowered(program: Program, exported: ExportedProgram, target: Target) -> tuple[bytes, list[str]]:
    """The file's bytes, and the operators that XNNPACK did not take."""
    about = json.dumps({"inputs": records.to_json(program.inputs), "outputs": records.to_json(program.outputs)})
    constants = {SPECS: torch.tensor(list(about.encode()), dtype=torch.uint8)}
    try:
        # XNNPACK's passes trace convolutions again; torch's choice of a kernel would then bound the batch to 15.
        with quiet(), torch.backends.mkldnn.flags(enabled=False), torch.backends.nnpack.flags(enabled=False):
            edge = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()], constant_methods=constants)
            left = _outside(edge.exported_program())  # before the next line changes it
            return bytes(edge.to_executorch().buffer), left
    except Exception as error:  # whatever its passes raise
        raise failure(error, program, exported, target) from error


def _outside(lowered: ExportedProgram) -> list[str]:
    """Operators that stayed outside of the backend's parts, each name once."""
    names = (getattr(node.target, "__name__", "") for node in lowered.graph.nodes if node.op == "call_function")
    return sorted(set(names) - {"executorch_call_delegate", "getitem"})
