"""A recipe whose stages are trained by two processes, as a user starts them."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

from safetensors.torch import load_file

NET = "{use: resnet, size: 16, width: 4, blocks: [1], embedding: 8, classes: 10}"
RECIPE = f"""
name: two
data: {{use: digits, holdout: 0.9}}
model: {NET}
train:
  - name: teacher
    model: {NET}
    method: {{use: margin, kind: cosface, deploy_head: true}}
    fit: {{epochs: 2, batch: 32, lr: 0.1, accelerator: cpu, timeout_s: 60}}
  - name: student
    method: {{use: distil, teacher: teacher, kd: 1.0, cache: true}}
    fit: {{epochs: 1, batch: 32, accelerator: cpu, ema: 0.9}}
targets: {{required: [torch-fp32]}}
bench: null
"""
LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "edgesmith"]


def call(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    return subprocess.run(words, env=environment, cwd=folder, capture_output=True, text=True, check=False)


def test_two_processes_run_a_recipe_and_one_of_them_speaks(tmp_path: Path) -> None:
    (tmp_path / "two.yaml").write_text(RECIPE)
    done = call([*LAUNCH, "run", "two.yaml", "--out", "out", "--json"], tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout)["title"] == "two"
    assert done.stderr.count("train-teacher: epoch 2/2") == 1 == done.stderr.count("train-student: epoch 1/1")
    (teacher,), (student,) = ((tmp_path / "out").glob(f"train-{name}-*") for name in ("teacher", "student"))
    assert sorted(path.name for path in teacher.iterdir()) == [
        "artifact.json", "history.json", "log.csv", "weights.safetensors",
    ]  # fmt: skip
    with (teacher / "log.csv").open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2"]
    weights = load_file(teacher / "weights.safetensors")
    assert weights["head.weight"].shape == (10, 8)  # the centres of both processes
    assert load_file(student / "weights.safetensors").keys() == weights.keys() | {"head.bias"}
