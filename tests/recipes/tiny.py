"""The smallest recipe that has every kind of step, and how to run it as a user does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

RECIPE = """
name: tiny
data: {use: digits, holdout: 0.3}
model: {use: resnet, size: 32, width: 8, embedding: 16, classes: 10}
train:
  - name: teacher
    model: {use: resnet, size: 32, width: 16, embedding: 32, classes: 10}
    method: {use: plain}
    fit: {epochs: 2, batch: 128, lr: 0.05, threads: 1}
  - name: student
    method: {use: th_kd, teacher: teacher}
    fit: {epochs: 2, batch: 128, lr: 0.05, threads: 1}
quantize: {samples: 32}
targets: {required: [ort-int8, openvino-fp32]}
bench: {blocks: 4, block_size: 5, warmup: 3}
limits: {accuracy_drop: 0.9}
"""
ROOT = Path(__file__).parents[2]


def write_recipe(folder: Path) -> Path:
    """The tiny recipe as a file."""
    path = folder / "tiny.yaml"
    path.write_text(RECIPE)
    return path


def edgesmith(*words: object, before: str = "") -> subprocess.CompletedProcess[str]:
    """One command in a process of its own; `before` is code that runs in it first."""
    code = f"{before}\nfrom edgesmith.cli.app import main\nmain()"
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    argv = [sys.executable, "-c", code, *(str(word) for word in words)]
    return subprocess.run(argv, capture_output=True, text=True, check=False, env=environment)
