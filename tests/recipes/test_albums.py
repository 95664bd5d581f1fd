"""The recipe of the albums from end to end, as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.recipes.tiny import ROOT, edgesmith

INT8 = ("ort-int8", "openvino-int8")


@pytest.mark.slow
def test_every_runtime_keeps_the_events_and_the_importance(tmp_path: Path) -> None:
    ended = edgesmith("run", ROOT / "recipes/albums.yaml", "--out", tmp_path, "--set", "bench.blocks=2")
    assert ended.returncode == 0, ended.stderr + ended.stdout
    report = json.loads((tmp_path / "report.json").read_text())
    rows = {row["target"]: row for row in report["rows"]}
    assert rows["torch-fp32"]["accuracy"]["value"] > 0.5  # five events
    assert all(rows[name]["state"] == "pass" and rows[name]["precision"] == "int8" for name in INT8)
    judged = {(row["target"], row["check"]): row["state"] for row in report["verdicts"]}
    assert all(judged[name, "drop of importance MAP@20%"] == "pass" for name in INT8)
