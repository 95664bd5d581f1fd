"""A run that is killed in the middle of its steps goes on and ends like one that was not."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
import pytest

from tests.recipes.tiny import edgesmith, write_recipe

# Each line of code kills its process for good in the middle of one step, when part of it is on disk.
_KILL = "import os, signal\ndef kill(): os.kill(os.getpid(), signal.SIGKILL)\n"
KILLED_IN = {
    "train-student": """
import edgesmith.compress.fit as place
write = place.write_checkpoint
def after_one_epoch(folder, *words):
    write(folder, *words)
    if "student" in str(folder): kill()
place.write_checkpoint = after_one_epoch
""",
    "quantize": """
import edgesmith.pipeline.quantizing as place
save = place.save_plans
def after_the_plans(*words):
    save(*words)
    kill()
place.save_plans = after_the_plans
""",
    "export": """
import edgesmith.pipeline.produce as place
save = place.save_exported
def before_the_record(root, exported, golden):
    if exported.target == "ort-int8": kill()
    return save(root, exported, golden)
place.save_exported = before_the_record
""",
    "bench": """
import edgesmith.pipeline.judge as place
measure = place.measure
def in_the_second_round(*words, progress, **options):
    return measure(*words, progress=lambda line: kill() if "round 2" in line else progress(line), **options)
place.measure = in_the_second_round
""",
}


@pytest.fixture(scope="module")
def resumed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run killed once in each of four steps, then let to its end."""
    folder = tmp_path_factory.mktemp("killed")
    recipe, out = write_recipe(folder), folder / "run"
    for step, code in KILLED_IN.items():
        ended = edgesmith("run", recipe, "--out", out, before=_KILL + code)
        assert ended.returncode == -signal.SIGKILL, ended.stderr
        half_done = next(out.glob(f"{step}-*"))
        assert any(half_done.iterdir()) and not (half_done / "artifact.json").exists()
    ended = edgesmith("run", recipe, "--out", out)
    assert ended.returncode == 0, ended.stderr
    return out


def _only(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


def test_folders_and_keys_are_the_same(finished: Path, resumed: Path) -> None:
    names = {path.name for path in (finished / "run").iterdir()}
    assert {path.name for path in resumed.iterdir()} == names


@pytest.mark.parametrize("stage", ["teacher", "student"])
def test_weights_are_the_same_bit_for_bit(finished: Path, resumed: Path, stage: str) -> None:
    pattern = f"train-{stage}-*/weights.safetensors"
    assert _only(resumed, pattern).read_bytes() == _only(finished / "run", pattern).read_bytes()


def test_training_went_on_from_its_checkpoint(resumed: Path) -> None:
    record = json.loads(_only(resumed, "train-student-*/artifact.json").read_text())
    assert record["meta"] == {"epochs": 2, "resumed_from": 1, "notes": []}


def test_plan_and_outputs_are_the_same(finished: Path, resumed: Path) -> None:
    pattern = "quantize-*/plan-ort.json"
    assert _only(resumed, pattern).read_text() == _only(finished / "run", pattern).read_text()
    one, other = (dict(np.load(_only(run, "outputs-*/outputs.npz"))) for run in (finished / "run", resumed))
    assert set(one) == set(other) != set()
    assert all(np.array_equal(one[name], other[name]) for name in one)


def test_the_verdicts_are_the_same(finished: Path, resumed: Path) -> None:
    def verdicts(run: Path) -> dict:
        report = json.loads((run / "report.json").read_text())
        return {(row["target"], row["check"]): row["state"] for row in report["verdicts"]}

    assert verdicts(resumed) == verdicts(finished / "run") != {}
