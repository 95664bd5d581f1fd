"""This machine as a device: copies and subprocesses."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from edgesmith.devices.device import Completed
from edgesmith.devices.facts import this_machine
from edgesmith.errors import MissingResource
from edgesmith.results import DeviceInfo

_POLL_S = 0.02
_GRACE_S = 3.0
_SOURCE = Path(__file__).resolve().parents[2]


class LocalDevice:
    """Commands run as process groups of their own, with the edgesmith that is imported here on their path.

    root: where `place` puts folders; without it they stay where they are.
    """

    def __init__(self, name: str = "local", root: Path | None = None, python: str = sys.executable) -> None:
        self.name, self.root, self.python = name, root, python

    def info(self) -> DeviceInfo:
        """What this machine is."""
        return this_machine(self.name)

    def place(self, folder: Path) -> str:
        """The folder's own path, or its name below `root`."""
        return str(folder.resolve() if self.root is None else self.root.resolve() / folder.name)

    def push(self, local: Path, remote: str) -> None:
        """Copy a file or folder. Raises: MissingResource."""
        _copy(local, Path(remote))

    def pull(self, remote: str, local: Path) -> None:
        """Copy a file or folder. Raises: MissingResource."""
        _copy(Path(remote), local)

    def remove(self, remote: str) -> None:
        """Delete a file or folder, if it is there."""
        path = Path(remote)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

    def run(self, argv: Sequence[str], timeout_s: float, on_line: Callable[[str], None] | None = None) -> Completed:
        """Run a command; nothing of its process group is left afterwards, whether it ended or was killed.

        Raises: MissingResource when it cannot start.
        """
        # Files, not pipes: a grandchild that keeps a pipe open would make us wait for it.
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            try:
                process = subprocess.Popen(
                    list(argv),
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=err,
                    env=_environment(),
                    start_new_session=True,
                )
            except OSError as error:
                raise MissingResource(f"run {argv[0]}", f"{error.strerror}", "check the command") from error
            try:
                ended = _wait(process, timeout_s, _Follower(out, on_line))
            finally:
                _end_group(process)
            return Completed(process.returncode, _text(out), _text(err), not ended)


class _Follower:
    """Hands on the lines of a growing file."""

    def __init__(self, file: IO[bytes], on_line: Callable[[str], None] | None) -> None:
        self._handle, self._on_line, self._place, self._rest = file.fileno(), on_line, 0, b""

    def read(self) -> None:
        if self._on_line is None:
            return
        # pread: the child writes through the same file offset.
        while chunk := os.pread(self._handle, 1 << 16, self._place):
            self._place += len(chunk)
            *lines, self._rest = (self._rest + chunk).split(b"\n")
            for line in lines:
                self._on_line(line.decode(errors="replace"))


def _wait(process: subprocess.Popen[bytes], timeout_s: float, follower: _Follower) -> bool:
    deadline = time.monotonic() + timeout_s
    while process.poll() is None:
        if time.monotonic() > deadline:
            return False
        follower.read()
        time.sleep(_POLL_S)
    follower.read()
    return True


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """Ask a running leader to end (it may have groups of its own to end), then kill whatever is left of the group."""
    if process.poll() is None:
        _signal(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_S)
    _signal(process.pid, signal.SIGKILL)
    process.wait()


def _signal(group: int, number: signal.Signals) -> None:
    # PermissionError is what macOS says of a group whose last process is a zombie.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def _environment() -> dict[str, str]:
    path = [str(_SOURCE), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path), "PYTHONSAFEPATH": "1"}


def _copy(source: Path, destination: Path) -> None:
    if not source.exists():
        raise MissingResource(f"copy {source}", "no such file or folder", "check the path")
    if source.resolve() == destination.resolve():
        return
    destination.parent.mkdir(parents=True, exist_ok=True)
    try:
        if source.is_dir():
            shutil.copytree(source, destination, dirs_exist_ok=True)
        else:
            shutil.copy2(source, destination)
    except OSError as error:
        raise MissingResource(
            f"copy {source} to {destination}", str(error), "free space or choose another place"
        ) from error
