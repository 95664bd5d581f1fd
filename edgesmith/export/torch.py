"""The PyTorch original itself, as a program saved by torch.export: what every other target is compared with."""

from __future__ import annotations

import io
from pathlib import Path

import torch

from edgesmith import records
from edgesmith.artifact import Exported
from edgesmith.export.exporter import half, quiet, record
from edgesmith.graph.capture import Program, exported_program, node_names
from edgesmith.quant import QuantPlan
from edgesmith.targets import Target


def export(program: Program, plan: QuantPlan | None, target: Target, out: Path) -> Exported:
    """Write model.pt2: the captured program with its batch norms, unchanged, or in fp16 where that is asked."""
    lowered = half(program) if target.precision == "fp16" else program
    with quiet():
        exported = exported_program(lowered)
    names = node_names(lowered, exported)
    for node in exported.graph.nodes:
        node.meta.pop("stack_trace", None)  # file names of the machine that exported
        node.meta.pop("from_node", None)  # addresses in the memory of this process
    buffer = io.BytesIO()
    torch.export.save(exported, buffer)
    records.write_bytes(out / f"model{target.suffix}", buffer.getvalue())
    return record(program, plan, target, out, names)
