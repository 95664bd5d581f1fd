from __future__ import annotations

import dataclasses
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgesmith.artifact import load_exported, save_exported
from edgesmith.bench import job as jobs
from edgesmith.bench.job import Candidate
from edgesmith.bench.protocol import rounds
from edgesmith.bench.worker import main, run_job
from edgesmith.devices.facts import this_machine
from tests.bench.samples import QUICK, job, model, rows
from tests.contracts.test_device import all_gone

SOURCE = Path(__file__).parents[2]


def children_of(folder: Path) -> list[int]:
    """Living processes whose command line names the folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if str(folder).encode() in line and b"bench" in line:
                found.append(int(entry.name))
    return found


def prepared(folder: Path, *names: str, accidents: dict[str, tuple[str, int]] | None = None, **options):
    for number, name in enumerate(names):
        accident, at = (accidents or {}).get(name, ("", 0))
        model(folder / f"model-{number}", accident, at)
    made = job(*names, **options)
    jobs.write_job(folder, made, rows())
    return made


@pytest.fixture(scope="module")
def healthy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("job")
    made = prepared(folder, "a", "b", "c")
    said: list[str] = []
    return run_job(folder, made, said.append), said, folder


def test_blocks_run_in_the_promised_order(healthy):
    result, said, _ = healthy
    assert result.order == tuple(name for names in rounds(["a", "b", "c"], 3) for name in names)
    assert said[-1] == "round 3 of 3"


def test_every_sample_is_kept_block_by_block(healthy):
    result, _, folder = healthy
    for row in result.measurements:
        assert row.state == "measured" and row.reason == ""
        assert [len(block) for block in row.latency.blocks_ms] == [QUICK.block_size] * QUICK.blocks
        assert row.latency.warmup >= QUICK.warmup and row.first_ms > 0
        assert len(row.load_ms) == 2 and row.peak_bytes > 1 << 20 and row.size_bytes > 0
        assert (row.engine, row.version, row.precision, row.threads, row.batch) == ("null", "1", "fp32", 1, 1)
    assert min(result.sentinel_ms) > 0 and not children_of(folder)


def test_an_accelerators_own_times_stand_beside_the_samples(tmp_path):
    made = prepared(tmp_path, "a", "b")
    model(tmp_path / "model-1", device_ms=0.25)
    without, with_one = run_job(tmp_path, made, lambda line: None).measurements
    assert (without.device_ms, with_one.device_ms) == ((), (0.25,) * QUICK.block_size)
    assert with_one.peak_bytes and not any("accelerator" in note for note in (*without.notes, *with_one.notes))


@pytest.mark.parametrize(
    ("accident", "at", "state", "text"),
    [
        # Two runs of warm-up or up to twenty; a block is one run more than its samples.
        ("kill", 23, "failed", "block [1-9].*SIGKILL"),
        ("abort", 1, "failed", "warm up.*SIGABRT"),
        ("raise", 1, "failed", "told to fail"),
        ("no-package", 0, "not_measured", "package is absent"),
        ("no-device", 0, "not_measured", "device is absent"),
    ],
)
def test_one_that_breaks_is_a_row_and_the_others_are_measured(tmp_path, accident, at, state, text):
    made = prepared(tmp_path, "a", "b", "c", accidents={"b": (accident, at)})
    result = run_job(tmp_path, made, lambda line: None)
    states = [row.state for row in result.measurements]
    assert states == ["measured", state, "measured"]
    row = result.measurements[1]
    assert row.latency is None

    assert re.search(text, row.reason), row.reason
    assert result.order.count("a") == result.order.count("c") == QUICK.blocks > result.order.count("b")
    assert not children_of(tmp_path)
    jobs.write_result(tmp_path, result)
    jobs.read_result(tmp_path, made)


def test_one_that_hangs_is_ended_and_the_others_are_measured(tmp_path):
    made = prepared(tmp_path, "a", "b", accidents={"a": ("hang", 1)}, timeout_s=4.0)
    result = run_job(tmp_path, made, lambda line: None)
    assert [row.state for row in result.measurements] == ["failed", "measured"]
    assert "no answer in 4 s" in result.measurements[0].reason
    assert not children_of(tmp_path)


def test_an_interpreter_that_is_not_there_is_not_measured(tmp_path):
    made = prepared(tmp_path, "a", "b")
    other = type(made)(**{**vars(made), "candidates": (made.candidates[0], Candidate("b", "model-1", 1, "/none/py"))})
    result = run_job(tmp_path, other, lambda line: None)
    assert [row.state for row in result.measurements] == ["measured", "not_measured"]
    assert "/none/py" in result.measurements[1].reason


def test_one_that_breaks_in_an_outputs_job(tmp_path):
    made = prepared(tmp_path, "a", "b", accidents={"a": ("kill", 2)}, kind="outputs")
    result = run_job(tmp_path, made, lambda line: None)
    assert [row.state for row in result.measurements] == ["failed", "measured"]
    assert not (tmp_path / "outputs-0.npz").exists() and (tmp_path / "outputs-1.npz").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_worker_that_is_ended_leaves_no_child(tmp_path, number):
    if number == signal.SIGKILL and sys.platform != "linux":
        pytest.skip("linux: only Linux ends a child with its parent")
    prepared(tmp_path, "a", "b", accidents={"b": ("hang", 1)})
    argv = [sys.executable, "-m", "edgesmith.bench.worker", str(tmp_path)]
    worker = subprocess.Popen(argv, cwd=SOURCE, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while len(children_of(tmp_path)) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    found = children_of(tmp_path)
    assert len(found) == 3
    worker.send_signal(number)
    worker.wait(30)
    assert all_gone(found)
    assert not (tmp_path / "result.json").exists()


def test_a_job_that_cannot_be_read_ends_with_its_exit_code(tmp_path, capsys):
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert main([str(tmp_path)]) == 3
    finally:
        signal.signal(signal.SIGTERM, before)
    assert "job.json" in capsys.readouterr().err


def test_a_plan_for_another_instruction_set_is_said(tmp_path):
    here = this_machine().instruction_set
    elsewhere = "arm64" if here != "arm64" else "x86"
    made = prepared(tmp_path, "same", "other")
    for number, planned in ((0, here), (1, elsewhere)):
        exported = load_exported(tmp_path / f"model-{number}")
        save_exported(exported.root, dataclasses.replace(exported, instruction_set=planned), None)
    same, other = run_job(tmp_path, made, lambda line: None).measurements
    assert not any("quantized for" in note for note in same.notes)
    assert f"quantized for {elsewhere} but run on {here}" in other.notes[-1]
