from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from edgesmith.artifact import RECORD, open_artifact
from edgesmith.errors import MissingResource, UsageError
from edgesmith.pipeline.run import Step, execute, folder_of, step_keys


def writing(name: str, content: str, calls: list[str], **more: Any) -> Step:
    def work(folder: Path) -> Mapping[str, Any]:
        calls.append(name)
        (folder / "result.txt").write_text(content)
        return {"size": len(content)}

    return Step(name, {"content": content}, work, **more)


def quiet(text: str) -> None:
    """Say nothing."""


def test_a_second_call_does_nothing_twice(tmp_path: Path) -> None:
    calls: list[str] = []
    steps = [writing("one", "a", calls), writing("two", "b", calls, needs=("one",))]
    first = execute(steps, tmp_path, quiet)
    second = execute(steps, tmp_path, quiet)
    assert calls == ["one", "two"]
    assert not first["two"].skipped and second["two"].skipped
    assert second["two"].artifact.meta == {"size": 1}


def test_a_changed_config_redoes_the_step_and_what_depends_on_it(tmp_path: Path) -> None:
    calls: list[str] = []
    other = writing("other", "x", calls)
    execute([writing("one", "a", calls), writing("two", "b", calls, needs=("one",)), other], tmp_path, quiet)
    execute([writing("one", "A", calls), writing("two", "b", calls, needs=("one",)), other], tmp_path, quiet)
    assert calls == ["one", "two", "other", "one", "two"]


def test_a_half_done_folder_is_emptied_but_for_what_the_step_keeps(tmp_path: Path) -> None:
    calls: list[str] = []
    step = writing("one", "a", calls, keeps=("last.ckpt",))
    folder = folder_of(tmp_path, "one", step_keys([step])["one"])
    folder.mkdir(parents=True)
    (folder / "last.ckpt").write_text("checkpoint")
    (folder / "rubbish").write_text("half")
    execute([step], tmp_path, quiet)
    assert sorted(p.name for p in folder.iterdir()) == sorted([RECORD, "last.ckpt", "result.txt"])


def test_a_damaged_result_is_done_again(tmp_path: Path) -> None:
    calls: list[str] = []
    step = writing("one", "a", calls)
    done = execute([step], tmp_path, quiet)
    (done["one"].artifact.root / "result.txt").write_text("b")
    said: list[str] = []
    again = execute([step], tmp_path, said.append)
    assert calls == ["one", "one"] and any("result.txt" in text for text in said)
    assert open_artifact(again["one"].artifact.root).meta == {"size": 1}


def test_two_runs_in_one_folder_are_refused(tmp_path: Path) -> None:
    def nested(folder: Path) -> Mapping[str, Any]:
        with pytest.raises(UsageError, match="another run"):
            execute([], tmp_path, quiet)
        return {}

    execute([Step("outer", {}, nested)], tmp_path, quiet)


_FILL = """
import resource, sys
from pathlib import Path
from edgesmith.pipeline.run import Step, execute
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
def small(folder): (folder / "a").write_bytes(b"x" * 1000); return {}
def large(folder): {write}; return {}
execute([Step("small", 1, small), Step("large", 1, large)], Path(sys.argv[1]), print)
"""


@pytest.mark.parametrize(
    "write",
    [
        '(folder / "b").write_bytes(b"x" * 1_000_000)',
        'import torch; torch.save(torch.zeros(1_000_000), folder / "b")',
        'import numpy as np; np.savez(folder / "b.npz", a=np.zeros(1_000_000))',
    ],
)
def test_a_full_disk_is_a_clear_error_and_older_results_stay(tmp_path: Path, write: str) -> None:
    code = _FILL.replace("{write}", write)
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert "MissingResource" in done.stderr and "make room" in done.stderr
    assert open_artifact(next(tmp_path.glob("small-*"))).files.keys() == {"a"}
    assert not (next(tmp_path.glob("large-*")) / RECORD).exists()


_KILLED = """
import os, signal, sys
from pathlib import Path
from edgesmith.pipeline.run import Step, execute
def work(folder):
    (folder / "part").write_text("half")
    if not Path(sys.argv[2]).exists():
        Path(sys.argv[2]).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    (folder / "whole").write_text("done")
    return {}
execute([Step("step", 1, work)], Path(sys.argv[1]), print)
"""


def test_a_killed_step_is_done_again(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _KILLED, str(tmp_path / "out"), str(tmp_path / "flag")]
    assert subprocess.run(command, capture_output=True, check=False).returncode == -signal.SIGKILL
    assert subprocess.run(command, capture_output=True, check=True).returncode == 0
    folder = next((tmp_path / "out").glob("step-*"))
    assert set(open_artifact(folder).files) == {"part", "whole"}


def test_an_unwritable_folder_names_itself(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")

    def work(folder: Path) -> Mapping[str, Any]:
        raise OSError(28, os.strerror(28), str(folder))

    with pytest.raises(MissingResource, match="No space left"):
        execute([Step("one", {}, work)], tmp_path, quiet)
