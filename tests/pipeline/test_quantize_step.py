"""A recipe whose quantize section keeps a drop: through all steps to verdict and exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from edgesmith.errors import RecipeError
from edgesmith.pipeline.recipe import read_recipe
from edgesmith.pipeline.sources import Trust
from edgesmith.pipeline.steps import run_recipe
from tests.recipes.tiny import RECIPE

pytestmark = pytest.mark.needs("onnxruntime")


def untrained(folder: Path, **quantize: object) -> Path:
    """The tiny recipe without its training, which these questions do not need."""
    raw = {key: value for key, value in yaml.safe_load(RECIPE).items() if key != "train"}
    raw |= {"quantize": {"samples": 32, **quantize}, "targets": {"required": ["ort-int8"]}, "bench": None}
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(raw))
    return path


@pytest.mark.parametrize(("max_drop", "state", "code"), [(0.9, "pass", 0), (0.001, "inconclusive", 5)])
def test_the_drop_is_a_verdict_of_the_run(tmp_path: Path, max_drop: float, state: str, code: int) -> None:
    recipe = read_recipe(untrained(tmp_path, max_drop=max_drop, keep_float=["body.stem"]))
    table = run_recipe(recipe, tmp_path / "out", Trust(), lambda text: None, "")
    assert table is not None and table.exit_code == code
    verdicts = {(row["target"], row["check"]): row for row in table.report["verdicts"]}
    assert verdicts["ort-int8", "max_drop"]["state"] == state
    (step,) = (tmp_path / "out").glob("quantize-*")
    meta = json.loads((step / "artifact.json").read_text())["meta"]
    assert any(row["reason"] == "asked" for row in meta["plans"][0]["in_float"])
    assert (step / "control-ort.json").exists()


@pytest.mark.parametrize(
    ("section", "words"),
    [({"max_drop": -0.5}, "quantize.max_drop"), ({"max_drop": 0.1, "max_ms": 2.0}, "quantize.max_ms: max_drop is")],
)
def test_a_quantize_section_that_makes_no_sense_is_a_recipe_error(
    tmp_path: Path, section: dict[str, float], words: str
) -> None:
    with pytest.raises(RecipeError, match=words):
        read_recipe(untrained(tmp_path, **section))
