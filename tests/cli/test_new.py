"""New recipes as a user makes them, with a terminal and without; and what the shell completes."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from edgesmith.cli.app import invoke


def test_without_questions_and_it_dry_runs(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    recipe = str(tmp_path / "recipe.yaml")
    assert invoke(["new", recipe, "--defaults", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["answers"]["model"] == "mobilefacenet"
    assert invoke(["run", recipe, "--dry-run", "--out", str(tmp_path / "run")]) == 0
    assert "train-student" in capfd.readouterr().out
    before = Path(recipe).read_text()
    assert invoke(["new", recipe, "--defaults"]) == 2
    assert Path(recipe).read_text() == before
    assert invoke(["new", str(tmp_path / "none" / "r.yaml"), "--defaults"]) == 3


def test_no_terminal_and_no_answer_is_an_error_that_names_the_options(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["new", str(tmp_path / "r.yaml"), "--data", "digits", "--json"]) == 2
    error = json.loads(capfd.readouterr().out)["error"]
    assert "--model" in error["found"] and "--data" not in error["found"] and "--defaults" in error["todo"]
    assert not (tmp_path / "r.yaml").exists()


def test_five_questions_in_a_terminal(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    words = [sys.executable, "-m", "edgesmith", "new", "mine.yaml", "--targets", "ort-int8"]
    child = subprocess.Popen(words, cwd=tmp_path, stdin=theirs, stdout=theirs, stderr=theirs, env=_environment())
    os.close(theirs)
    os.write(ours, b"\ntimm:resnet18\n\n0.01\n")
    assert child.wait(60) == 0
    shown = os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert "Pictures" in shown and "[none]" in shown and "Targets" not in shown
    text = (tmp_path / "mine.yaml").read_text()
    assert (
        'model: "resnet18"' in text and "accuracy_drop: 0.01" in text and "teacher" not in text.split("train:")[1][:40]
    )


def test_the_shell_completes_verbs_and_options() -> None:
    for typed, expected in (("edgesmith insp", "inspect"), ("edgesmith new --ma", "--max-drop")):
        environment = _environment() | {"_EDGESMITH_COMPLETE": "complete_bash", "COMP_WORDS": typed}
        environment["COMP_CWORD"] = str(len(typed.split()) - 1)
        words = [sys.executable, "-m", "edgesmith"]
        found = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60)
        assert expected in found.stdout.split(), (found.stdout, found.stderr)


def _environment() -> dict[str, str]:
    return dict(os.environ) | {"PYTHONPATH": str(Path(__file__).parents[2]), "TERM": "dumb"}
