"""What every row of DEVICES promises (edgesmith/devices/device.py)."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import pytest

from edgesmith.devices import DEVICES, fake_adb
from edgesmith.devices.adb import AdbDevice
from edgesmith.devices.entry import DeviceEntry
from edgesmith.devices.qemu import QemuDevice
from edgesmith.devices.ssh import SshDevice
from edgesmith.errors import MissingResource
from tests.devices.sshd import serving

ANOTHER_PROGRAM = {"ssh": ("sshd", "ssh", "ssh-keygen"), "adb": "adb", "qemu": "qemu-aarch64-static"}
ROWS = [
    pytest.param(n, marks=pytest.mark.needs(program=ANOTHER_PROGRAM.get(n, "sh"), arm64_root=n == "qemu"))
    for n in DEVICES.names()
]

ODD = ["a b", "it's", '"q"', "x;echo y", "$(touch z)", "new\nline", "-rf", "*", "ünï", "back\\slash"]


@pytest.fixture(scope="module")
def sshd(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@pytest.fixture(params=ROWS)
def device(request, tmp_path):
    if request.param == "ssh":
        made = SshDevice(request.getfixturevalue("sshd").entry(tmp_path / "device"))
        yield made
        made.close()
    elif request.param == "adb":
        with fake_adb.serving(fake_adb.Phone()) as port:
            yield AdbDevice(
                DeviceEntry("phone", "adb", "fake-1", port, python=sys.executable, root=str(tmp_path / "device"))
            )
    elif request.param == "qemu":
        yield QemuDevice(DeviceEntry("pi", "qemu", root=os.environ["EDGESMITH_ARM64_ROOT"]))
    else:
        yield DEVICES.get(request.param)(root=tmp_path / "device")


def is_gone(pid: int) -> bool:
    """Whether a process has ended; a zombie that waits for its parent has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def all_gone(pids: list[int], within_s: float = 5.0) -> bool:
    deadline = time.monotonic() + within_s
    while not all(is_gone(pid) for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_a_folder_comes_back_as_it_went(device, tmp_path):
    folder = tmp_path / "job"
    (folder / "inner").mkdir(parents=True)
    content = bytes(range(256)) * 1000
    (folder / "inner" / "data.bin").write_bytes(content)
    (folder / "empty").touch()
    remote = device.place(folder)
    device.push(folder, remote)
    device.pull(remote, tmp_path / "back")
    assert (tmp_path / "back" / "inner" / "data.bin").read_bytes() == content
    assert (tmp_path / "back" / "empty").read_bytes() == b""
    device.pull(f"{remote}/inner/data.bin", tmp_path / "one.bin")
    assert (tmp_path / "one.bin").read_bytes() == content


def test_removed_means_gone_and_removing_twice_is_no_error(device, tmp_path):
    (folder := tmp_path / "job").mkdir()
    (folder / "file").write_text("x")
    remote = device.place(folder)
    device.push(folder, remote)
    device.remove(remote)
    device.remove(remote)
    with pytest.raises(MissingResource):
        device.pull(remote, tmp_path / "back")
    assert (folder / "file").exists()


def test_copying_what_is_not_there_is_a_missing_resource(device, tmp_path):
    with pytest.raises(MissingResource):
        device.push(tmp_path / "absent", str(tmp_path / "target"))


def test_a_command_gives_its_status_and_both_outputs(device):
    code = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"
    ended = device.run([device.python, "-c", code], 30)
    assert (ended.returncode, ended.stdout, ended.stderr, ended.timed_out) == (3, "out\n", "err\n", False)


def test_odd_names_and_arguments_travel(device, tmp_path):
    folder = tmp_path / "o d'd; $(x)"
    folder.mkdir()
    for number, name in enumerate(ODD):
        (folder / name).write_text(str(number))
    remote = device.place(folder) + "/p; $(q) '\n'"
    device.push(folder, remote)
    device.pull(remote, tmp_path / "back")
    assert {p.name: p.read_text() for p in (tmp_path / "back").iterdir()} == {n: str(i) for i, n in enumerate(ODD)}
    code = "import json, sys; print(json.dumps(sys.argv[1:]))"
    assert json.loads(device.run([device.python, "-c", code, *ODD], 20).stdout) == ODD
    device.remove(remote)
    assert not Path(remote).exists()


def test_lines_are_handed_on(device):
    lines: list[str] = []
    ended = device.run([device.python, "-c", "print('one'); print('two')"], 30, lines.append)
    assert lines == ["one", "two"] and ended.stdout == "one\ntwo\n"


def test_an_unknown_command_is_a_missing_resource(device):
    with pytest.raises(MissingResource, match="no-such-command"):
        device.run(["no-such-command"], 30)


def test_the_interpreter_there_finds_edgesmith(device, tmp_path):
    ended = device.run([device.python, "-c", "import edgesmith.bench.worker as w; print(w.__file__)"], 60)
    assert Path(ended.stdout.strip()).parts[-3:] == ("edgesmith", "bench", "worker.py"), ended.stderr


def test_too_late_is_killed_with_all_it_started(device, tmp_path):
    script = f"sleep 60 & echo $! >{tmp_path}/inner; echo $$ >{tmp_path}/outer; wait"
    ended = device.run(["sh", "-c", script], 0.5)
    assert ended.timed_out and ended.returncode < 0
    assert all_gone([int((tmp_path / name).read_text()) for name in ("inner", "outer")])


def test_one_that_ignores_being_asked_is_killed_too(device, tmp_path):
    code = "import os, signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    code += "open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)"
    ended = device.run([device.python, "-c", code, str(tmp_path / "pid")], 1.0)
    assert ended.timed_out and all_gone([int((tmp_path / "pid").read_text())])


def test_nothing_is_left_in_the_background_after_a_normal_end(device, tmp_path):
    ended = device.run(["sh", "-c", f"sleep 60 & echo $! >{tmp_path}/pid"], 30)
    assert ended.returncode == 0 and not ended.timed_out
    assert all_gone([int((tmp_path / "pid").read_text())])
    assert not is_gone(os.getpid())


def test_it_says_what_it_is(device):
    info = device.info()
    assert info.name == device.name and info.cores >= 1 and info.memory_bytes > 0 and info.instruction_set
