from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from edgesmith.cli.app import invoke
from edgesmith.errors import UsageError
from edgesmith.models.genotype import load_genotype
from edgesmith.pipeline.many_searches import many_searches
from edgesmith.pipeline.recipe import Recipe, read_recipe
from edgesmith.pipeline.sources import Trust

FRAME = {"size": 8, "stem": 8, "stem_stride": 1, "stages": [[8, 1, 1]], "last": 8, "embedding": 8, "act": "relu"}
SPACE = {"use": "chain", "classes": 10, "frame": FRAME, "operations": ["conv-k3-relu", "mb-k3-e2-relu", "identity"]}
RECIPE = {
    "name": "tiny-search",
    "data": {"use": "digits"},
    "model": {"use": "chain_net", "genotype": "search", "classes": 10},
    "search": {
        "space": SPACE,
        "method": {"use": "asap", "cooling": 0.3, "alpha_lr": 0.05},
        "fit": {"epochs": 2, "batch": 64, "threads": 1},
        "latency": {"target": "ort-fp32", "budget_ms": 50.0, "networks": 4, "blocks": 4, "block_size": 5},
    },
    "targets": {"required": ["torch-fp32"]},
}


def recipe(folder: Path) -> Recipe:
    folder.mkdir(exist_ok=True)
    file = folder / "tiny-search.yaml"
    file.write_text(yaml.safe_dump(RECIPE))
    return read_recipe(file)


def test_each_seed_and_budget_is_a_row_and_one_that_cannot_hold_fails_alone(tmp_path: Path) -> None:
    said: list[str] = []
    rows = many_searches(recipe(tmp_path), [3], [50.0, 1e-6], tmp_path / "out", Trust(), said.append)
    assert [(row["seed"], row["budget_ms"]) for row in rows] == [(3, 50.0), (3, 1e-6)]
    assert rows[0]["state"] in ("pass", "inconclusive") and rows[1]["state"] == "failed"  # 20 samples may not decide
    assert rows[0]["error"] is None and "budget" in rows[1]["error"] and rows[1]["genotype"] is None
    latency = rows[0]["latency"]
    assert latency["measured_ms"].value > 0 and latency["verdict"].state == rows[0]["state"]
    assert latency["verdict"].asked == "the network found: p50 <= 50 ms"
    assert "seed-3-budget-50" in rows[0]["genotype"] and load_genotype(Path(rows[0]["genotype"])).kept()
    tables = list((tmp_path / "out").rglob("table.json"))
    assert len(tables) == 1  # measured once for all
    assert sum("networks timed" in text and "4 of 4" in text for text in said) == 1


def test_budgets_need_a_latency_goal(tmp_path: Path) -> None:
    without = recipe(tmp_path)
    without = replace(without, search=replace(without.search, latency=None))
    with pytest.raises(UsageError, match="no latency section"):
        many_searches(without, [], [1.0], tmp_path, Trust(), lambda text: None)
    with pytest.raises(UsageError, match="no search section"):
        many_searches(replace(without, search=None), [0], [], tmp_path, Trust(), lambda text: None)


@pytest.mark.parametrize(("option", "text"), [("--seeds", "0,one"), ("--budgets", "-1"), ("--budgets", "nan")])
def test_what_is_not_a_list_of_numbers_is_refused(
    option: str, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe(tmp_path)
    code = invoke(["search", str(tmp_path / "tiny-search.yaml"), option, text, "--out", str(tmp_path / "out")])
    assert code == 2 and f"{option} {text}" in capsys.readouterr().err
