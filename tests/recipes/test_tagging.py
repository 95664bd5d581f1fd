"""The tagging recipe, shortened, from scenes to verdicts by mAP."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.recipes.tiny import ROOT, edgesmith

SHORTER = (
    "data={use: scenes, samples: 600, calibration: 40, evaluation: 150}",
    "quantize={samples: 32}",
    "targets={required: [ort-int8, openvino-int8], built: [coreml-int8]}",
    "bench={blocks: 4, block_size: 5, warmup: 3}",
)


@pytest.mark.slow
def test_every_runtime_is_judged_by_map(tmp_path: Path) -> None:
    words = [word for change in SHORTER for word in ("--set", change)]
    ended = edgesmith("run", ROOT / "recipes" / "tagging.yaml", "--out", tmp_path, *words)
    assert ended.returncode in (0, 5), ended.stderr  # 150 scenes may not decide on the drop
    report = json.loads((tmp_path / "report.json").read_text())
    rows = {row["target"]: row for row in report["rows"]}
    assert rows["torch-fp32"]["accuracy"]["metric"] == "mAP" and rows["torch-fp32"]["accuracy"]["value"] > 0.5
    for target in ("ort-int8", "openvino-int8"):
        assert rows[target]["drop"]["value"] < 0.1 and rows[target]["state"] in ("pass", "inconclusive")
    assert "<th" in (page := (tmp_path / "report.html").read_text()) and ">mAP</th>" in page
