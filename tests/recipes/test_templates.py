"""A recipe that is judged by templates of faces, from lists on disk to verdicts."""

from __future__ import annotations

from pathlib import Path

import yaml

from edgesmith.pipeline.recipe import read_recipe
from edgesmith.pipeline.sources import Trust
from edgesmith.pipeline.steps import run_recipe
from tests.data.test_face_templates import write

RECIPE = {
    "name": "templates",
    "data": {"use": "face-templates", "name": "made", "calibrate_on": "others", "calibration": 4},
    "model": {"use": "mobilefacenet", "width": 0.125, "embedding": 8, "size": 32},
    "targets": {"required": ["ort-fp32"], "optional": ["ort-int8"]},
    "bench": None,
    "limits": {"accuracy_drop": 0.01, "drops": {"template_tar@1e-1": 1.0}},
}


def test_a_run_is_judged_by_templates(tmp_path: Path) -> None:
    root = tmp_path / "faces"
    root.mkdir()
    recipe = {**RECIPE, "data": {**RECIPE["data"], "root": str(write(root, people=8))}}  # type: ignore[dict-item]
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    table = run_recipe(read_recipe(tmp_path / "recipe.yaml"), tmp_path / "run", Trust(), lambda text: None, "test")
    rates = {(row.target, row.metric): row for row in table.judgement.accuracies}
    float_row = rates["ort-fp32", "template_tar@1e-1"]
    assert float_row.n == 8 and abs(float_row.drop.value) < 1e-9  # 8 genuine pairs
    verdicts = {(v.target, v.check): v.state for v in table.judgement.verdicts}
    # 112 impostor pairs say nothing about a rate of 1e-4: no evidence is not a pass.
    assert verdicts["ort-fp32", "accuracy_drop"] == "not_measured" and table.judgement.headline == "template_tar@1e-4"
    assert any("template_tar@1e-1" in v.found and v.target == "ort-fp32" for v in table.judgement.verdicts)
