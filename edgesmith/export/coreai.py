"""Core AI (model.aimodel, for Apple's systems from 27 on), made on any host by coreai-torch.

Seen with coreai-torch 0.4.3 and coreai-core 1.0.0b3: both install on Linux, an asset is written there, and it holds no
names of layers that are known here, so that no layer can be tapped; the asset bears its date.
"""

from __future__ import annotations

import json
from pathlib import Path

import coreai_torch

from edgesmith.artifact import Exported
from edgesmith.export.exporter import failure, prepared, quiet, record
from edgesmith.graph.capture import Program, exported_program
from edgesmith.quant import QuantPlan
from edgesmith.targets import Target


def export(program: Program, plan: QuantPlan | None, target: Target, out: Path) -> Exported:
    """Write model.aimodel. Raises: ExportFailed naming the operator and the module path."""
    lowered = prepared(program, plan, target)
    with quiet() as heard:
        exported = exported_program(lowered).run_decompositions(coreai_torch.get_decomp_table())
        names = {
            "input_names": [spec.name for spec in program.inputs],
            "output_names": [spec.name for spec in program.outputs],
        }
        try:
            converter = coreai_torch.TorchConverter().add_exported_program(exported, **names)
            converter.to_coreai().save_asset(out / f"model{target.suffix}")
        except Exception as error:  # it raises whatever its lowerings raise
            raise failure(error, program, exported, target, log=heard.getvalue()) from error
    _make_repeatable(out / f"model{target.suffix}")
    return record(program, plan, target, out, {})


def _make_repeatable(asset: Path) -> None:
    """The same bytes for the same model: a date stays, in its form, and says nothing."""
    file = asset / "metadata.json"
    metadata = json.loads(file.read_text()) | {"creationDate": "19700101T000000Z"}
    file.write_text(json.dumps(metadata, indent=4, sort_keys=True) + "\n")
