"""A child process that is asked over a pipe: one JSON object a line each way, with a time limit."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgesmith.errors import EngineFailed, MissingResource

_LAST_LINES = 3
_PR_SET_PDEATHSIG = 1
_REAP_S = 5.0


class Child:
    """One process in a session and process group of its own; its standard error goes to `log`."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], log: Path) -> None:
        self._log, self._number, self._rest = log, 0, b""
        try:
            with log.open("wb") as errors:
                self._process = subprocess.Popen(
                    list(argv),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    env=dict(env),
                    start_new_session=True,
                )
        except OSError as error:
            raise MissingResource(f"start {argv[0]}", f"{error.strerror}", "check the interpreter") from error

    def ask(self, message: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        """Send one message and wait for its answer. Raises: EngineFailed when the child dies or takes too long."""
        self._number += 1
        what = str(message.get("do", "answer"))
        line = json.dumps({"number": self._number, **message}) + "\n"
        try:
            if self._process.stdin is not None:
                self._process.stdin.write(line.encode())
                self._process.stdin.flush()
        except (BrokenPipeError, ValueError):  # ValueError: the pipe is closed on our side, since it was ended
            raise self._death(what) from None
        return self._answer(what, time.monotonic() + timeout_s, timeout_s)

    def _answer(self, what: str, deadline: float, timeout_s: float) -> dict[str, Any]:
        while True:
            line, found, rest = self._rest.partition(b"\n")
            if found:
                self._rest = rest
                answer = _parsed(line)
                if answer.get("number") == self._number:
                    return answer
                continue  # not ours: something else wrote to the pipe
            self._rest += self._more(what, deadline, timeout_s)

    def _more(self, what: str, deadline: float, timeout_s: float) -> bytes:
        pipe = self._process.stdout
        handle = pipe.fileno() if pipe is not None else -1
        ready, _, _ = select.select([handle], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            self.end()
            raise EngineFailed(what, f"no answer in {timeout_s:g} s, so it was killed", f"see {self._log.name}")
        chunk = os.read(handle, 1 << 16)
        if not chunk:
            raise self._death(what)
        return chunk

    def _death(self, what: str) -> EngineFailed:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_REAP_S)
        code = self._process.poll()
        self.end()
        if code is None:
            found = "the process closed its pipe"
        elif code < 0:
            found = f"the process was ended by {signal.Signals(-code).name}"
        else:
            found = f"the process ended with status {code}"
        last = self.last_lines()
        return EngineFailed(what, f"{found}; its last lines: {last}" if last else found, f"see {self._log.name}")

    def last_lines(self) -> str:
        """The end of what the child wrote to its standard error."""
        text = self._log.read_bytes()[-4096:].decode(errors="replace")
        return " | ".join([line.strip() for line in text.splitlines() if line.strip()][-_LAST_LINES:])

    def end(self) -> None:
        """Kill the child and its group, whatever it does, and reap it."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def die_with_parent(number: signal.Signals) -> None:
    """On Linux, get this signal when the parent dies, even in the middle of a call that never comes back."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)
