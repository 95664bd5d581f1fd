"""A real sshd on loopback, run by the current user with keys and settings of its own."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from edgesmith.bench.pipe import die_with_parent
from edgesmith.devices.entry import DeviceEntry

SSHD = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/sbin")
needs_sshd = pytest.mark.needs(program=("sshd", "ssh", "ssh-keygen"))


@dataclass(frozen=True)
class Server:
    """Where it listens, and what a client needs to trust it and to be let in."""

    port: int
    folder: Path
    process: subprocess.Popen[bytes]

    def entry(self, root: Path, **changes) -> DeviceEntry:
        made = DeviceEntry(
            "loopback",
            "ssh",
            "127.0.0.1",
            self.port,
            getpass.getuser(),
            sys.executable,
            str(root),
            known_hosts=str(self.folder / "known_hosts"),
            identity=str(self.folder / "user"),
            connect_timeout_s=10.0,
            keepalive_s=1.0,
        )
        return replace(made, **changes)

    def fingerprint(self) -> str:
        line = subprocess.run(["ssh-keygen", "-lf", str(self.folder / "host.pub")], capture_output=True, text=True)
        return line.stdout.split()[1]


def logged_python(folder: Path) -> Path:
    """An interpreter that writes down what it is asked to run."""
    path = folder / "python"
    path.write_text(f'#!/bin/sh\necho "$@" >>"{folder}/asked"\nexec "{sys.executable}" "$@"\n')
    path.chmod(0o755)
    return path


def asked(folder: Path) -> str:
    """What it wrote down."""
    return (folder / "asked").read_text()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _key(path: Path) -> str:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(path)], check=True)
    return path.with_suffix(".pub").read_text().strip()


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """Run sshd until the block ends; it and all that it started end with it."""
    folder.mkdir(parents=True, exist_ok=True)
    host, user, port = _key(folder / "host"), _key(folder / "user"), free_port()
    (folder / "authorized").write_text(user + "\n")
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {host}\n")
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where sshd shuts its unprivileged half in
    lines = [
        f"Port {port}", "ListenAddress 127.0.0.1", f"HostKey {folder / 'host'}", "PidFile none",
        f"AuthorizedKeysFile {folder / 'authorized'}", "StrictModes no", "UsePAM no", "PasswordAuthentication no",
        "KbdInteractiveAuthentication no", "PermitRootLogin yes", "MaxStartups 100", "LogLevel ERROR",
    ]  # fmt: skip
    (folder / "sshd_config").write_text("\n".join(lines) + "\n")
    argv = [str(SSHD), "-D", "-e", "-f", str(folder / "sshd_config")]
    with (folder / "sshd.log").open("wb") as log:
        process = subprocess.Popen(
            argv,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=lambda: die_with_parent(signal.SIGTERM),  # also when the tests themselves are killed
        )
    try:
        _wait(port, process, folder)
        yield Server(port, folder, process)
    finally:
        process.terminate()
        process.wait(10)


def _wait(port: int, process: subprocess.Popen[bytes], folder: Path) -> None:
    for _ in range(200):
        if process.poll() is not None:
            raise RuntimeError((folder / "sshd.log").read_text())
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError("sshd does not listen")
