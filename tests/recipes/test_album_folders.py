"""The albums recipe on folders of photos with several events an album (ML-CUFED's form), from photos to verdicts."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from edgesmith.pipeline.recipe import read_recipe
from edgesmith.pipeline.sources import Trust
from edgesmith.pipeline.steps import run_recipe
from tests.recipes.tiny import ROOT

EVENTS = ("red", "green", "blue")
NET = {
    "use": "album", "encoder": "resnet", "encoder_options": {"width": 8, "blocks": [1], "embedding": 16}, "size": 12,
    "photos": 3, "dim": 16, "layers": 1, "heads": 2, "ffn": 24, "classes": 3,
}  # fmt: skip
FIT = {"epochs": 8, "batch": 8, "lr": 0.01, "optimizer": "adamw", "threads": 1}


def write_albums(root: Path) -> None:
    """80 albums of 1 to 5 photos, noise but for one photo in the colour of each event; one album has no photo left,
    one photo is broken."""
    rng = np.random.default_rng(0)
    events, importance = {}, {}
    for album in range(80):
        own = rng.permutation(3)[: rng.integers(0, 3)]
        events[f"a{album:02d}"] = [EVENTS[colour] for colour in own]
        count = max(1, len(own)) + int(rng.integers(0, 3))
        for photo in range(count):
            pixels = rng.integers(60, 120, (12, 12, 3))
            if photo < len(own):
                pixels[..., own[photo]] = 250
            name = f"a{album:02d}/{photo}.png"
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(root / name)
            importance[name] = float(photo < len(own))
    (root / "a00/9.png").write_bytes(b"not a picture")
    shutil.rmtree(root / "a01")
    (root / "a01").mkdir()
    with (root.parent / "events.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerows([("album", "events"), *((name, ";".join(own)) for name, own in events.items())])
    (root.parent / "importance.json").write_text(json.dumps(importance))


def test_from_folders_to_verdicts_on_the_runtimes(tmp_path: Path) -> None:
    write_albums(tmp_path / "set")
    raw = yaml.safe_load((ROOT / "recipes/albums.yaml").read_text())
    for stage in raw["train"]:
        stage["fit"] = FIT
    raw["train"][0]["model"] = {**NET, "dim": 24}
    raw["data"] = {
        "use": "albums", "root": str(tmp_path / "set"), "classes": list(EVENTS), "events": str(tmp_path / "events.csv"),
        "importance": str(tmp_path / "importance.json"), "photos": 3, "pool": 5, "size": 12, "holdout": 0.3,
        "calibration": 20,
    }  # fmt: skip
    raw |= {"model": NET, "quantize": {"samples": 20}, "bench": None, "limits": {"accuracy_drop": 0.25}}
    raw["targets"] = {"required": ["torch-fp32", "ort-fp32", "ort-int8"]}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(raw))
    table = run_recipe(read_recipe(tmp_path / "recipe.yaml"), tmp_path / "out", Trust(), lambda line: None, "test")
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert table is not None and table.exit_code == 0, report["verdict"]
    scores = {row["target"]: row["accuracy"]["value"] for row in report["rows"]}
    assert scores["ort-int8"] > 0.8 and len(scores) == 3  # about a half without looking
    metrics = {row["metric"] for row in report["accuracies"] if row["target"] == "ort-int8"}
    assert {"mAP", "importance MAP@20%"} <= metrics
    assert set(report["skipped"]) == {"a01/ (no photos)", "a00/9.png"}
