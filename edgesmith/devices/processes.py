"""Run a command as a process group and leave nothing of it behind: standard library alone, since devices run it too."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO

_POLL_S = 0.02
_GRACE_S = 3.0


@dataclass(frozen=True)
class Completed:
    """How a command ended; returncode is negative for a signal, as in subprocess."""

    returncode: int
    stdout: str
    stderr: str
    timed_out: bool = False


def run_group(
    argv: Sequence[str],
    timeout_s: float,
    env: Mapping[str, str],
    on_line: Callable[[str], None] | None = None,
    watch: Callable[[], None] | None = None,
) -> Completed:
    """Run a command; nothing of its process group is left afterwards, whether it ended, was killed or `watch` raised.

    watch is called all the while. Raises: OSError when the command cannot start.
    """
    # Files, not pipes: a grandchild that keeps a pipe open would make us wait for it.
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(
            list(argv), stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=dict(env), start_new_session=True
        )
        try:
            ended = _wait(process, timeout_s, _Follower(out, on_line), watch)
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


def _wait(
    process: subprocess.Popen[bytes], timeout_s: float, follower: _Follower, watch: Callable[[], None] | None
) -> bool:
    deadline = time.monotonic() + timeout_s
    while process.poll() is None:
        if time.monotonic() > deadline:
            return False
        follower.read()
        if watch is not None:
            watch()
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
