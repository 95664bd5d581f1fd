"""Against a real sshd on loopback: who is trusted, what travels, and what is left when a connection breaks."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from edgesmith import errors
from edgesmith.bench.run import measure
from edgesmith.devices.entry import DeviceEntry
from edgesmith.devices.local import LocalDevice
from edgesmith.devices.ssh import SshDevice
from edgesmith.errors import ConnectionLost, DeviceBusy, HostKeyRefused, LoginRefused, MissingResource
from tests.bench.samples import QUICK, model, rows
from tests.devices.sshd import free_port, needs_sshd, serving

pytestmark = needs_sshd


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("sshd")) as made:
        yield made


@pytest.fixture
def reach(server, tmp_path):
    """A function that makes a device; all are closed at the end."""
    made = []

    def reach_(**changes) -> SshDevice:
        made.append(SshDevice(server.entry(tmp_path / "there", **changes)))
        return made[-1]

    yield reach_
    for device in made:
        device.close()


def gone(pid: int, within_s: float = 8.0) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.05)
    return False


def children(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(stat.read_text().rsplit(")", 1)[1].split()[1]) == pid:
                found.append(int(stat.parent.name))
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended meanwhile
    return found


def cut(server) -> None:
    """End the server's side of every connection, as a reset in the network does."""
    for child in children(server.process.pid):
        os.kill(child, signal.SIGKILL)


def test_a_key_that_is_not_known_is_refused_and_not_learnt(reach, tmp_path):
    (known := tmp_path / "known").touch()
    with pytest.raises(HostKeyRefused, match="fingerprint") as caught:
        reach(known_hosts=str(known)).run(["true"], 10)
    assert caught.value.exit_code == 3 and known.read_text() == ""


def test_a_fingerprint_in_the_entry_is_enough_and_another_is_refused(server, reach):
    right = reach(known_hosts=None, host_key=server.fingerprint())
    assert right.run(["echo", "in"], 10).stdout == "in\n"
    with pytest.raises(HostKeyRefused, match=f"shows {re.escape(server.fingerprint())}"):
        reach(known_hosts=None, host_key="SHA256:" + "A" * 43).run(["true"], 10)


def test_a_wrong_fingerprint_is_not_healed_by_known_hosts(reach):
    with pytest.raises(HostKeyRefused):
        reach(host_key="SHA256:" + "A" * 43).run(["true"], 10)


def test_a_key_that_nobody_allowed_is_refused(server, reach):
    with pytest.raises(LoginRefused):
        reach(identity=str(server.folder / "host")).run(["true"], 10)


def test_no_python_there_says_so(reach):
    with pytest.raises(MissingResource, match="no python there"):
        reach(python="/no/such/python").run(["true"], 10)


def test_an_interpreter_that_ends_at_once_says_so(reach):
    with pytest.raises(MissingResource, match=r"/bin/false there ended with status 1.*Python 3\.8"):
        reach(python="/bin/false").run(["true"], 10)


def test_a_key_file_that_is_not_here_is_named(reach):
    with pytest.raises(LoginRefused, match="no key file /no/such/key here"):
        reach(identity="/no/such/key").run(["true"], 10)


def test_a_root_that_cannot_be_is_named(server, tmp_path):
    (file := tmp_path / "file").touch()
    device = SshDevice(server.entry(file))
    with pytest.raises(MissingResource, match=r"copy to device 'loopback': Not a directory .* as root in the device"):
        device.push(file, "x")
    with pytest.raises(MissingResource, match=r"reserve device 'loopback': .* as root in the device"):
        device.reserve().__enter__()
    device.close()


def test_an_interpreter_without_numpy_is_an_absence(reach, tmp_path):
    (python := tmp_path / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')
    python.chmod(0o755)
    with pytest.raises(MissingResource, match="has no numpy; install numpy there, or see env"):
        measure(reach(python=str(python)), tmp_path / "job", {"m": model(tmp_path / "m")}, rows(), QUICK, "m")


def test_nobody_listens(reach):
    with pytest.raises(MissingResource, match="refused"):
        reach(port=free_port()).run(["true"], 10)


def test_through_a_jump_host(server, reach):
    jump = f"{server.entry(Path('x')).user}@127.0.0.1:{server.port}"
    assert reach(jump=jump).run(["echo", "far"], 10).stdout == "far\n"


def test_an_address_is_never_an_option():
    with pytest.raises(errors.UsageError):
        SshDevice(DeviceEntry("bad", "ssh", "-oProxyCommand=touch x"))


def test_a_broken_push_goes_on_where_it_was(reach, tmp_path):
    content = os.urandom((5 << 20) + 17)
    (tmp_path / "big").write_bytes(content)
    name = hashlib.sha256(content).hexdigest()
    (store := tmp_path / "there" / "store").mkdir(parents=True)
    (part := store / f"{name}.part").write_bytes(content[: 3 << 20])
    kept = part.stat().st_ino
    device = reach()
    device.push(tmp_path / "big", device.place(tmp_path / "big"))
    assert (store / name).stat().st_ino == kept and (store / name).read_bytes() == content


def test_what_is_there_does_not_travel_again(reach, tmp_path):
    (folder := tmp_path / "job").mkdir()
    (folder / "same").write_bytes(b"s" * 1000)
    (folder / "other").write_bytes(b"1")
    device, store = reach(), tmp_path / "there" / "store"
    device.push(folder, device.place(folder))
    before = {path.name: path.stat().st_ino for path in store.iterdir()}
    (folder / "other").write_bytes(b"2")
    device.push(folder, device.place(folder))
    after = {path.name: path.stat().st_ino for path in store.iterdir()}
    assert set(after) - set(before) == {hashlib.sha256(b"2").hexdigest()}
    assert all(after[name] == inode for name, inode in before.items())


def test_a_damaged_beginning_is_found_and_the_next_try_succeeds(reach, tmp_path):
    content = os.urandom(2 << 20)
    (tmp_path / "big").write_bytes(content)
    (store := tmp_path / "there" / "store").mkdir(parents=True)
    (store / f"{hashlib.sha256(content).hexdigest()}.part").write_bytes(b"x" * 1000)
    device = reach()
    remote = device.place(tmp_path / "big")
    with pytest.raises(errors.DamagedArtifact, match="changed on the way"):
        device.push(tmp_path / "big", remote)
    device.push(tmp_path / "big", remote)
    assert Path(remote).read_bytes() == content


def test_a_full_disk_is_named(reach, tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    (store := tmp_path / "there" / "store").mkdir(parents=True)
    (store / f"{hashlib.sha256(b'content').hexdigest()}.part").symlink_to("/dev/full")
    with pytest.raises(MissingResource, match="disk there is full"):
        reach().push(tmp_path / "file", str(tmp_path / "there" / "x"))


def test_a_program_for_another_processor_is_named(reach, tmp_path):
    (program := tmp_path / "tool").write_bytes(b"\x7fELF" + bytes(60))
    program.chmod(0o755)
    with pytest.raises(MissingResource, match="another processor"):
        reach().run([str(program)], 10)


def test_a_connection_lost_in_a_command_leaves_nothing_running(server, reach, tmp_path):
    with pytest.raises(ConnectionLost):
        reach().run(["sh", "-c", f"echo $$ >{tmp_path}/pid; echo on; sleep 60"], 60, lambda line: cut(server))
    assert gone(int((tmp_path / "pid").read_text()))


def test_a_client_that_falls_silent_leaves_nothing_running(reach, tmp_path):
    device = reach(keepalive_s=0.2)

    def freeze(line: str) -> None:
        for child in children(os.getpid()):
            if b"ssh" in Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")[0]:
                os.kill(child, signal.SIGSTOP)
                threading.Timer(4.0, os.kill, (child, signal.SIGCONT)).start()

    with pytest.raises(ConnectionLost):
        device.run(["sh", "-c", f"echo $$ >{tmp_path}/pid; echo on; sleep 60"], 60, freeze)
    assert gone(int((tmp_path / "pid").read_text()), 0.1)


def test_after_a_loss_the_next_call_connects_again(server, reach):
    device = reach()
    device.run(["true"], 10)
    cut(server)
    time.sleep(0.2)
    assert device.run(["echo", "again"], 10).stdout == "again\n"


def test_one_measures_at_a_time(server, reach):
    first, second = reach(), reach()
    with first.reserve(), pytest.raises(DeviceBusy, match="@"), second.reserve():
        pass
    with second.reserve():
        cut(server)
    with first.reserve():
        pass


def test_a_job_through_ssh_has_the_form_of_a_local_one(reach, tmp_path):
    exported = {"one": model(tmp_path / "m1"), "two": model(tmp_path / "m2", accident="crash")}
    far = measure(reach(), tmp_path / "far", exported, rows(), QUICK, "one")
    near = measure(LocalDevice(), tmp_path / "near", exported, rows(), QUICK, "one")
    assert [(m.target, m.state, m.engine) for m in far.measurements] == [
        (m.target, m.state, m.engine) for m in near.measurements
    ]
    assert far.device.name == "loopback" and far.device.cpu == near.device.cpu
    blocks = [len(block) for block in far.measurements[0].latency.blocks_ms]
    assert blocks == [QUICK.block_size] * QUICK.blocks and far.sentinel_ms[0] > 0
    assert list((tmp_path / "there" / "jobs").iterdir()) == []


def test_a_job_whose_connection_breaks_is_done_again_from_its_beginning(server, reach, tmp_path):
    said = []

    def say(line: str) -> None:
        said.append(line)
        if len(said) == 2:
            cut(server)

    record = measure(reach(), tmp_path / "job", {"one": model(tmp_path / "m")}, rows(), QUICK, "one", progress=say)
    assert record.measurements[0].state == "measured" and any("begins again" in line for line in said)
    assert len(record.measurements[0].latency.blocks_ms) == QUICK.blocks


def test_a_device_that_is_gone_for_good_is_reported(reach, tmp_path):
    with serving(tmp_path / "other") as other:
        device = SshDevice(other.entry(tmp_path / "there"))

        def end(line: str) -> None:
            sessions = children(other.process.pid)
            other.process.terminate()
            other.process.wait(10)
            for session in sessions:
                os.kill(session, signal.SIGKILL)

        with pytest.raises(MissingResource):
            measure(device, tmp_path / "job", {"one": model(tmp_path / "m")}, rows(), QUICK, "one", progress=end)
        device.close()


def test_an_interpreter_there_is_the_one_of_the_entry(reach):
    code = "import sys; print(sys.executable)"
    assert reach().run([sys.executable, "-c", code], 10).stdout.strip() == sys.executable
