import json
import os
import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

from edgesmith.errors import ExportFailed
from edgesmith.export.coreml import LARGEST_BATCH, ct, export
from edgesmith.graph.capture import capture
from edgesmith.targets import target
from tests.export.quantized import planned
from tests.export.unsupported import Det, Net
from tests.models import tiny

FLOAT32 = 65568  # MultiArrayType's own number


def spec_of(exported):
    return ct.models.MLModel(str(exported.file), skip_model_load=True).get_spec()


def operations(exported) -> list[str]:
    main = spec_of(exported).mlProgram.functions["main"]
    return [operation.type for operation in main.block_specializations[main.opset].operations]


def test_a_package_for_ios_17_with_only_what_core_ml_reads(tmp_path):
    exported = export(capture(tiny("depthwise"), {"x": torch.zeros(1, 3, 8, 8)}), None, target("coreml-fp16"), tmp_path)
    spec = spec_of(exported)
    assert spec.specificationVersion == 8
    assert "com.github.apple.coremltools.conversion_date" not in spec.description.metadata.userDefined
    assert spec.description.metadata.userDefined["target"] == "coreml-fp16"
    assert sorted(path.name for path in exported.file.iterdir()) == ["Data", "Manifest.json"]
    manifest = json.loads((exported.file / "Manifest.json").read_text())
    assert manifest["rootModelIdentifier"] in manifest["itemInfoEntries"]


def test_fp16_computes_in_half_and_talks_in_single_precision(tmp_path):
    program = capture(tiny("linear"), {"x": torch.zeros(1, 3, 8, 8)})
    made = {}
    for name in ("coreml-fp16", "coreml-fp32"):
        (tmp_path / name).mkdir()
        made[name] = export(program, None, target(name), tmp_path / name)
        description = spec_of(made[name]).description
        types = [value.type.multiArrayType.dataType for value in (*description.input, *description.output)]
        assert types == [FLOAT32, FLOAT32]
    assert "cast" in operations(made["coreml-fp16"])
    assert "cast" not in operations(made["coreml-fp32"])
    assert made["coreml-fp16"].layer_names["fc1"].endswith("_fp16")


def test_a_dynamic_batch_is_a_range(tmp_path):
    example = {"image": torch.zeros(1, 3, 8, 8), "context": torch.zeros(1, 4)}
    exported = export(capture(tiny("two"), example, dynamic_batch=True), None, target("coreml-fp32"), tmp_path)
    for value in spec_of(exported).description.input:
        batch = value.type.multiArrayType.shapeRange.sizeRanges[0]
        assert (batch.lowerBound, batch.upperBound) == (1, LARGEST_BATCH)


def test_the_quantized_program_converts_with_its_integers(tmp_path):
    program, plan = planned("depthwise", "coreml")
    exported = export(program, plan, target("coreml-int8"), tmp_path)
    found = operations(exported)
    assert found.count("constexpr_affine_dequantize") == 3, "every convolution's weight is stored in 8 bits"
    assert {"quantize", "dequantize"} <= set(found)
    assert exported.plan_digest == plan.digest()


def test_integers_are_32_bit(tmp_path):
    class Lookup(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(10, 4)

        def forward(self, index: Tensor) -> Tensor:
            return self.table(index)

    program = capture(Lookup(), {"index": torch.zeros(1, 3, dtype=torch.int64)})
    exported = export(program, None, target("coreml-fp32"), tmp_path)
    assert (program.inputs[0].dtype, exported.inputs[0].dtype) == ("int64", "int32")


def test_an_operator_that_coremltools_lacks_is_named_with_its_module(tmp_path):
    program = capture(Net(Det()), {"x": torch.zeros(1, 3, 4, 4)})
    with pytest.raises(ExportFailed, match=r"aten\.linalg_det\.default in 'block\.0\.act'"):
        export(program, None, target("coreml-fp16"), tmp_path)
    assert not list(tmp_path.iterdir())


EXPORT = """
import sys, torch; from pathlib import Path
from edgesmith.export.coreml import export; from edgesmith.graph.capture import capture
from edgesmith.targets import target; from tests.models import tiny
export(capture(tiny("concat"), {"x": torch.zeros(1, 3, 8, 8)}), None, target("coreml-fp16"), Path(sys.argv[1]))
"""


def test_another_process_writes_the_same_bytes(tmp_path):
    files = []
    for seed in ("1", "2"):
        (tmp_path / seed).mkdir()
        command = [sys.executable, "-W", "ignore", "-c", EXPORT, str(tmp_path / seed)]
        subprocess.run(command, check=True, env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": "."})
        files.append({path.name: path.read_bytes() for path in (tmp_path / seed).rglob("*") if path.is_file()})
    assert files[0] == files[1]


def test_importing_it_is_silent():
    found = subprocess.run(
        [sys.executable, "-c", "import edgesmith.export.coreml"], capture_output=True, text=True, check=True
    )
    assert found.stdout + found.stderr == ""
