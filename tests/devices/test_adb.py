"""The real adb program against our server of its protocol: what travels, what is left, what a refusal is called."""

from __future__ import annotations

import dataclasses
import getpass
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from edgesmith.bench.run import infer, measure
from edgesmith.devices.adb import AdbDevice
from edgesmith.devices.entry import DeviceEntry, Runner
from edgesmith.devices.fake_adb import Phone, serving
from edgesmith.devices.processes import Completed
from edgesmith.errors import ConnectionLost, DeviceBusy, LoginRefused, MissingResource
from tests.bench.samples import QUICK, model, rows

pytestmark = pytest.mark.needs(program="adb")


@pytest.fixture
def phone():
    return Phone()


@pytest.fixture
def reach(phone, tmp_path):
    with serving(phone) as port:

        def reach_(**changes) -> AdbDevice:
            return AdbDevice(
                DeviceEntry("phone", "adb", "fake-1", port, **{"root": str(tmp_path / "there"), **changes})
            )

        yield reach_


@pytest.mark.parametrize(
    ("state", "kind", "words"),
    [
        ("unauthorized", LoginRefused, "allow this computer"),
        ("offline", ConnectionLost, "offline"),
        ("", ConnectionLost, "fake-1"),
    ],
)
def test_a_phone_that_cannot_be_had_is_named(phone, reach, state, kind, words):
    phone.state = state
    with pytest.raises(kind, match=words) as caught:
        reach().run(["true"], 10)
    assert caught.value.exit_code == 3


def test_a_phone_unplugged_in_a_command_is_named(phone, reach):
    with pytest.raises(ConnectionLost):
        reach().run(["sh", "-c", "echo on; sleep 60"], 60, lambda line: phone.unplug())


def test_what_a_program_says_is_not_taken_for_adbs_own_words(reach):
    ended = reach().run(["sh", "-c", "echo 'error: bad weights' >&2; exit 1"], 10)
    assert (ended.returncode, ended.stderr) == (1, "error: bad weights\n")


def test_a_full_disk_is_named(phone, reach, tmp_path):
    phone.full = True
    (tmp_path / "file").write_bytes(b"x" * 100_000)
    with pytest.raises(MissingResource, match="disk there is full"):
        reach().push(tmp_path / "file", str(tmp_path / "there" / "file"))


def test_one_measures_at_a_time(reach):
    with reach().reserve(), pytest.raises(DeviceBusy, match="@"), reach().reserve():
        pass
    with reach().reserve():
        pass


def test_a_lock_that_a_dead_process_left_is_taken_over_and_anothers_is_not(reach, tmp_path):
    (lock := tmp_path / "there" / "busy").mkdir(parents=True)
    with subprocess.Popen(["true"]) as dead:
        dead.wait()
    us = f"{getpass.getuser()}@{socket.gethostname()}"
    for other in (f"{us} process {os.getpid()}", f"somebody@elsewhere process {dead.pid}", "", us):
        (lock / "who").write_text(other)
        with pytest.raises(DeviceBusy, match=other or "somebody"), reach().reserve():
            pass
        assert (lock / "who").read_text() == other
    (lock / "who").write_text(f"{us} process {dead.pid}\n")
    with reach().reserve():
        assert (lock / "who").read_text() == f"{us} process {os.getpid()}\n"
    assert list((tmp_path / "there").iterdir()) == []


def test_a_program_for_another_processor_is_named(reach, tmp_path):
    (tool := tmp_path / "tool").write_bytes(b"\x7fELF" + bytes(60))
    tool.chmod(0o755)
    with pytest.raises(MissingResource, match="for another processor") as caught:
        reach().run([str(tool)], 10)
    assert caught.value.todo == "build it for this device"


def program(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_a_native_program_is_timed_by_its_own_words(reach, tmp_path):
    says = "echo 'Session creation time cost: 0.02 s'; echo 'First inference time cost: 8 ms'; "
    tool = program(tmp_path / "perf", says + "echo 'P50 Latency: 0.00435 s'; test -f \"${11}\" || exit 9")
    device = reach(runners={"null": Runner("onnxruntime_perf_test", str(tool))})
    record = measure(device, tmp_path / "job", {"net": model(tmp_path / "m")}, rows(), QUICK, "net")
    (row,) = record.measurements
    assert row.state == "measured", row.reason
    assert row.latency.blocks_ms == ((4.35,),) * QUICK.blocks and row.first_ms == 8 and row.load_ms[0] == 20
    assert "median of 4 runs" in row.notes[0] and record.sentinel_ms[0] > 0
    assert list((tmp_path / "there" / "jobs").iterdir()) == []


@pytest.mark.parametrize(
    ("text", "state", "words"),
    [("echo hello", "not_measured", "does not parse: hello"), ("echo no >&2; exit 4", "failed", "status 4.*no")],
)
def test_a_program_that_does_not_answer_is_a_row(reach, tmp_path, text, state, words):
    tool = program(tmp_path / "perf", text)
    device = reach(runners={"null": Runner("benchmark_model", str(tool))})
    (row,) = measure(device, tmp_path / "job", {"net": model(tmp_path / "m")}, rows(), QUICK, "net").measurements
    assert row.state == state
    assert re.search(words, row.reason)


def test_a_plan_for_another_processor_and_a_clock_that_was_set_are_notes(reach, tmp_path):
    tool = program(tmp_path / "perf", "echo 'P50 Latency: 0.00435 s'")
    device = reach(runners={"null": Runner("onnxruntime_perf_test", str(tool))})
    planned = "x86" if device.info().instruction_set == "arm64" else "arm64"
    exported = {"net": dataclasses.replace(model(tmp_path / "m"), instruction_set=planned)}
    ask, dates = device.run, iter(["1000", "5000"])

    def run(argv, timeout_s, on_line=None):
        return Completed(0, next(dates), "") if argv == ["date", "+%s"] else ask(argv, timeout_s, on_line)

    device.run = run
    (row,) = measure(device, tmp_path / "job", exported, rows(), QUICK, "net").measurements
    assert any(f"quantized for {planned} but run on" in note for note in row.notes)
    assert any("wall clock was set by +" in note for note in row.notes)


def test_a_phone_unplugged_in_a_job_ends_it_by_name(phone, reach, tmp_path):
    tool = program(tmp_path / "perf", "echo 'P50 Latency: 0.00435 s'")
    device = reach(runners={"null": Runner("onnxruntime_perf_test", str(tool))})

    def unplug(line: str) -> None:
        if line.startswith("round 2"):
            phone.unplug()

    with pytest.raises(ConnectionLost) as caught:
        measure(device, tmp_path / "job", {"net": model(tmp_path / "m")}, rows(), QUICK, "net", progress=unplug)
    assert caught.value.exit_code == 3


def test_without_a_runner_or_a_program_nothing_is_measured(reach, tmp_path):
    exported = {"net": model(tmp_path / "m")}
    for device in (reach(), reach(runners={"null": Runner("benchncnn", "/no/such/program")})):
        (row,) = measure(device, tmp_path / "job", exported, rows(), QUICK, "net").measurements
        assert row.state == "not_measured" and row.reason
    assert infer(reach(), tmp_path / "job", exported, rows(), False)["net"].state == "not_measured"


def test_a_python_on_the_phone_runs_the_worker(reach, tmp_path):
    device = reach(python=sys.executable)
    record = measure(device, tmp_path / "job", {"net": model(tmp_path / "m")}, rows(), QUICK, "net")
    assert record.measurements[0].state == "measured", record.measurements[0].reason
