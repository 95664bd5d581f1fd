from __future__ import annotations

import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from edgesmith.artifact import Exported, Product
from edgesmith.errors import DamagedArtifact, MissingResource
from edgesmith.runtimes.compute_plan import PLAN, beside, operations_of, read_plan, write_plan
from edgesmith.runtimes.executed import placement, told_by
from edgesmith.runtimes.session import RunOptions
from tests.runtimes.samples import make

PRINTED = Path(__file__).parent / "printed" / PLAN
PRODUCTS = (Product("conv", 900, "fp16", ("conv_1",)), Product("head", 100, "fp16", ("y",)))


def test_units_and_types_by_layer() -> None:
    told = read_plan(PRINTED.read_text())
    assert told.unit == "" and "compute plan for ALL on macOS 15.1" in told.source
    exported = Exported("coreml-fp16", "coreml", "fp16", "model.mlpackage", (), (), products=PRODUCTS)
    found = placement(exported, told)
    assert found.share_by_unit == {"Neural Engine": 0.9, "CPU": 0.1}
    assert found.share_by_precision == {"fp16": 0.9, "fp32": 0.1}
    assert (found.partitions, found.copies) == (3, 1)  # a cast on the CPU, two on the Neural Engine, one on the CPU


def test_a_package_made_by_anyone_is_weighed_by_the_estimated_cost() -> None:
    exported = Exported("coreml-fp16", "coreml", "fp16", "theirs.mlpackage", (), ())
    found = placement(exported, read_plan(PRINTED.read_text()))
    assert found.share_by_unit == pytest.approx({"Neural Engine": 0.79 / 0.99, "CPU": 0.2 / 0.99})


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"operations": [{}], "compute_units": "ALL", "system": ""}'])
def test_another_json_is_refused(text: str) -> None:
    with pytest.raises(DamagedArtifact, match="compute plan"):
        read_plan(text)


def test_a_session_tells_what_a_plan_beside_the_package_says(tmp_path: Path) -> None:
    from edgesmith.runtimes.coreml import CoreMLRuntime

    exported = make("coreml", tmp_path / "a").exported
    with CoreMLRuntime.open(exported, RunOptions()) as session:
        assert told_by(session) is None and beside(exported.file) is None
        shutil.copy2(PRINTED, exported.root)
        told = told_by(session)
    assert told is not None and told.operators[1].unit == "Neural Engine"


class MLNeuralEngineComputeDevice:
    """Core ML's name of the unit."""


def test_a_plan_is_written_down_with_the_types_of_the_package(tmp_path: Path) -> None:
    from edgesmith.runtimes.coreml_vendor import coremltools

    exported = make("coreml", tmp_path / "a").exported
    spec = coremltools.models.MLModel(str(exported.file), skip_model_load=True).get_spec()
    (function,) = spec.mlProgram.functions.values()
    (block,) = function.block_specializations.values()
    operations = [SimpleNamespace(operator_name=one.type, outputs=list(one.outputs)) for one in block.operations]
    usage = SimpleNamespace(
        preferred_compute_device=MLNeuralEngineComputeDevice(),
        supported_compute_devices=[MLNeuralEngineComputeDevice()],
    )
    structure = SimpleNamespace(block=SimpleNamespace(operations=operations))
    plan = SimpleNamespace(
        model_structure=SimpleNamespace(program=SimpleNamespace(functions={"main": structure})),
        get_compute_device_usage_for_mlprogram_operation=lambda one: None if one.operator_name == "const" else usage,
        get_estimated_cost_for_mlprogram_operation=lambda one: SimpleNamespace(weight=0.25),
    )
    found = list(operations_of(plan, spec))
    assert len(found) == len(operations) > 2
    done = [one for one in found if one["preferred"]]
    assert done and all(one["preferred"] == "MLNeuralEngineComputeDevice" and one["cost"] == 0.25 for one in done)
    assert {one["precision"] for one in done} <= {"fp16", "fp32", "int32"}


@pytest.mark.skipif(sys.platform == "darwin", reason="linux: Core ML is here")
def test_it_is_asked_on_a_mac_only(tmp_path: Path) -> None:
    with pytest.raises(MissingResource, match="do this on a Mac"):
        write_plan(tmp_path / "a.mlpackage")
