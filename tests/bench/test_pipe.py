from __future__ import annotations

import os
import sys

import pytest

from edgesmith.bench.pipe import Child
from edgesmith.errors import EngineFailed, MissingResource
from tests.contracts.test_device import all_gone

ECHO = """
import json, sys
for line in sys.stdin:
    question = json.loads(line)
    print("a stray line")
    print(json.dumps({"number": question["number"] - 1, "late": True}))
    print(json.dumps({"number": question["number"], "pong": question["ping"]}), flush=True)
"""


def child(tmp_path, code: str) -> Child:
    return Child([sys.executable, "-c", code], os.environ, tmp_path / "log")


def test_answers_belong_to_their_questions_whatever_else_is_printed(tmp_path):
    started = child(tmp_path, ECHO)
    try:
        for value in (1, "two", [3] * 50_000):
            assert started.ask({"do": "x", "ping": value}, 30)["pong"] == value
    finally:
        started.end()


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("import os; os.kill(os.getpid(), 9)", "SIGKILL"),
        ("import os; os.abort()", "SIGABRT"),
        ("import sys; print('one\\ntwo\\nthree\\nfour', file=sys.stderr); sys.exit(3)", "status 3.*two | three | four"),
        ("raise ValueError('of its own')", "status 1.*ValueError: of its own"),
    ],
)
def test_a_death_is_told_with_its_cause(tmp_path, code, text):
    started = child(tmp_path, "input(); " + code)
    with pytest.raises(EngineFailed, match=text):
        started.ask({"do": "x"}, 30)
    with pytest.raises(EngineFailed):
        started.ask({"do": "x"}, 30)


def test_silence_is_ended_with_everything_the_child_started(tmp_path):
    code = "import os, subprocess, sys, time; inner = subprocess.Popen(['sleep', '60']); "
    code += f"open({str(tmp_path / 'pids')!r}, 'w').write(f'{{os.getpid()}} {{inner.pid}}'); time.sleep(60)"
    started = child(tmp_path, code)
    with pytest.raises(EngineFailed, match="no answer in 1 s"):
        started.ask({"do": "x"}, 1)
    assert all_gone([int(pid) for pid in (tmp_path / "pids").read_text().split()])


def test_an_absent_interpreter_is_a_missing_resource(tmp_path):
    with pytest.raises(MissingResource, match="no-such-python"):
        Child(["/no-such-python"], os.environ, tmp_path / "log")
