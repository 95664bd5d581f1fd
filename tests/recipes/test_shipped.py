"""Every shipped recipe is valid, and a tiny one runs from end to end as a user runs it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from edgesmith.pipeline.recipe import read_recipe
from tests.recipes.tiny import ROOT, edgesmith

SHIPPED = sorted((ROOT / "recipes").glob("*.yaml"))
STEPS = ("train-teacher", "train-student", "quantize", "export", "outputs", "bench")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_a_shipped_recipe_is_valid(path: Path, tmp_path: Path) -> None:
    recipe = read_recipe(path, [f"data.root={tmp_path}"] if "root" in path.read_text() else [])
    assert recipe.name == path.stem
    assert recipe.targets.required and recipe.limits


def test_a_finished_run_has_its_page_and_its_numbers(finished: Path) -> None:
    report = json.loads((finished / "run" / "report.json").read_text())
    assert {row["target"]: row["state"] for row in report["rows"]}["ort-int8"] == "pass"
    assert "ort-int8" in (finished / "run" / "report.html").read_text()


def test_a_second_call_repeats_no_step_and_prints_one_json_object(finished: Path) -> None:
    ended = edgesmith("run", finished / "tiny.yaml", "--out", finished / "run", "--json")
    assert ended.returncode == 0
    assert all(f"{step}: already done" in ended.stderr for step in STEPS)
    assert json.loads(ended.stdout)["verdict"]["state"] == "pass"


@pytest.mark.parametrize(("limit", "code"), [("limits.cosine=1.01", 1), ("limits.accuracy_drop=0.01", 5)])
def test_another_limit_repeats_no_step_and_changes_the_verdict(
    finished: Path, limit: str, code: int, tmp_path: Path
) -> None:
    run = shutil.copytree(finished / "run", tmp_path / "run")  # other tests read the verdicts of the finished one
    ended = edgesmith("run", finished / "tiny.yaml", "--out", run, "--set", limit)
    assert all(f"{step}: already done" in ended.stderr for step in STEPS)
    assert ended.returncode == code, ended.stdout


@pytest.mark.slow
def test_the_search_on_digits_runs_and_its_network_holds_the_budget(tmp_path: Path) -> None:
    ended = edgesmith("run", ROOT / "recipes" / "search-digits.yaml", "--out", tmp_path / "run", "--json")
    assert ended.returncode == 0, ended.stderr
    report = json.loads(ended.stdout)
    budgets = [row["state"] for row in report["verdicts"] if row["check"] == "search_budget"]
    assert budgets == ["pass"] and report["search"]["latency"]["verdict"]["state"] == "pass"
    rows = {row["target"]: row for row in report["rows"]}
    assert rows["openvino-int8"]["accuracy"]["value"] > 0.93
    again = edgesmith("run", ROOT / "recipes" / "search-digits.yaml", "--out", tmp_path / "run")
    assert "search: already done" in again.stderr and "latency-table: already done" in again.stderr
