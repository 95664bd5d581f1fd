"""A phone behind adb: the real `adb` program does push, pull and shell.

There is no agent on a phone: a command is the leader of a session of its own (setsid), whose id it writes down, so that
all of it can be killed afterwards. A folder is the lock, since making one succeeds once.
"""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import os
import re
import shlex
import shutil
import socket
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from edgesmith.devices.android import QUESTIONS, phone_info
from edgesmith.devices.entry import DeviceEntry
from edgesmith.devices.local import LocalDevice
from edgesmith.devices.processes import Completed
from edgesmith.devices.source import worker_digest, worker_files
from edgesmith.errors import ConnectionLost, DeviceBusy, LoginRefused, MissingResource, UsageError
from edgesmith.results import DeviceInfo

ROOT = "/data/local/tmp/edgesmith"
_COPY_S = 3600.0
_ASK_S = 60.0
_NOT_FOUND, _NOT_RUNNABLE = 127, 126
# $1: where the id of the session goes; the rest is the command. What is left of the session is killed at the end.
# Its status is written down too: adb itself reports success when the connection broke before the end.
_LEAD = 'echo $$ >"$1"; m=$1; shift; "$@" & wait $!; s=$?; echo $s >"$m.end"; exit $s'
_KILL = 'cat "$1.end"; s=$(cat "$1"); rm -f "$1" "$1.end"; [ -n "$s" ] && kill -9 -"$s"'
# $1: the lock, $2: its name aside, $3: who held it.
_PUT_ASIDE = 'mv "$1" "$2" && if [ "$(cat "$2/who")" = "$3" ]; then rm -rf "$2"; else mv "$2" "$1"; exit 1; fi'
_US = f"{getpass.getuser()}@{socket.gethostname()}"
# What Android's and Debian's shells and Android's linker say of a program for another processor.
_FOREIGN = re.compile(r"exec format error|not executable: \d+-bit ELF|cannot execute binary file|instead of EM_", re.I)
_GONE = ("device offline", "device not found", "no devices/emulators found", "closed", "protocol fault", "' not found")
_OURS = (*_GONE, "unauthorized", "cannot connect", "failed to")


class AdbDevice:
    """One phone by its serial number. port: of the adb server on this machine."""

    def __init__(self, entry: DeviceEntry) -> None:
        if entry.address.startswith("-"):
            raise UsageError(f"device {entry.name!r}", f"address {entry.address!r}", "give the serial number")
        self.name, self.rules, self.runners = entry.name, entry.rules, dict(entry.runners)
        self.python, self.runtimes = entry.python or "", entry.runtimes
        self._root, self._variables = entry.root or ROOT, dict(entry.variables)
        port = ["-P", str(entry.port)] if entry.port else []
        self._adb = ["adb", *port, *(["-s", entry.address] if entry.address else [])]
        self._here = LocalDevice()
        self._source_sent = False

    def info(self) -> DeviceInfo:
        """What the phone's shell says of it."""
        said = {fact: ended.stdout for fact, argv in QUESTIONS.items() if not (ended := self._ask(argv)).returncode}
        return phone_info(self.name, said)

    @contextmanager
    def reserve(self) -> Iterator[None]:
        """Hold the lock of the phone. Raises: DeviceBusy."""
        lock, who = f"{self._root}/busy", f"{_US} process {os.getpid()}"
        self._ask(["mkdir", "-p", self._root])
        while self._ask(["mkdir", lock]).returncode != 0:
            holder = self._ask(["cat", f"{lock}/who"]).stdout.strip()
            if not (_has_died(holder) and self._put_aside(lock, holder)):
                todo = f"wait for the end of it; if that died, remove {lock} on the phone"
                raise DeviceBusy(f"measure on {self.name}", f"{holder or 'somebody'} measures there", todo)
        try:
            self._ask(["sh", "-c", 'echo "$1" >"$2"', "sh", who, f"{lock}/who"])
            yield
        finally:
            with contextlib.suppress(MissingResource):  # a phone that has gone says so by the error on its way
                self.remove(lock)

    def _put_aside(self, lock: str, holder: str) -> bool:
        """Take away a lock that a dead process left; whether that was done. One that is new by now is put back."""
        aside = f"{lock}-{uuid.uuid4().hex}"
        return self._ask(["sh", "-c", _PUT_ASIDE, "sh", lock, aside, holder]).returncode == 0

    def place(self, folder: Path) -> str:
        """A folder below our root there; two that have the same name here do not meet."""
        return f"{self._root}/jobs/{hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:12]}"

    def push(self, local: Path, remote: str) -> None:
        """Copy a file or folder. Raises: MissingResource."""
        if not local.exists():
            raise MissingResource(f"copy {local}", "no such file or folder", "check the path")
        if local.is_dir():
            below = [path.relative_to(local) for path in sorted(local.rglob("*")) if path.is_dir()]
            self._must(["mkdir", "-p", remote, *(f"{remote}/{path}" for path in below)])
            for path in sorted(local.rglob("*")):
                if path.is_file():
                    self._copy("push", str(path.absolute()), f"{remote}/{path.relative_to(local)}")
            return
        self._must(["mkdir", "-p", remote.rpartition("/")[0] or "/"])
        self._copy("push", str(local.absolute()), remote)

    def pull(self, remote: str, local: Path) -> None:
        """Copy a file or folder here. Raises: MissingResource."""
        if self._ask(["test", "-e", remote]).returncode != 0:
            raise MissingResource(f"copy {remote} from {self.name}", "no such file or folder", "check the path")
        local.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=local.parent) as folder:  # adb puts a folder into one that is there
            self._copy("pull", remote, str(Path(folder) / "pulled"))
            pulled = Path(folder) / "pulled"
            if pulled.is_dir():
                shutil.copytree(pulled, local, dirs_exist_ok=True)
            else:
                pulled.replace(local)

    def remove(self, remote: str) -> None:
        """Delete a file or folder there, if it is there."""
        self._must(["rm", "-rf", remote])

    def run(self, argv: Sequence[str], timeout_s: float, on_line: Callable[[str], None] | None = None) -> Completed:
        """Run a command there; nothing of its session is left, whether it ended or was killed.

        Raises: MissingResource when it cannot start, ConnectionLost.
        """
        mark = f"{self._root}/session-{uuid.uuid4().hex}"
        self._ask(["mkdir", "-p", self._root])
        variables = [f"{name}={value}" for name, value in self._environment().items()]
        words = ["setsid", "-w", "sh", "-c", _LEAD, "sh", mark, *(["env", *variables] if variables else []), *argv]
        kill = ["sh", "-c", _KILL, "sh", mark]
        try:
            ended = self._shell(words, timeout_s, on_line)
        except BaseException:
            with contextlib.suppress(MissingResource):  # a phone that has gone says so by the error on its way
                self._ask(kill)
            raise
        told = self._ask(kill)
        if ended.timed_out:
            return Completed(-9, ended.stdout, ended.stderr, True)
        if not told.stdout.strip():
            raise ConnectionLost(f"run {argv[0]} on {self.name}", "the connection was lost", "run it again")
        if ended.returncode in (_NOT_FOUND, _NOT_RUNNABLE) and not ended.stdout:
            last = " ".join(ended.stderr.split())
            asked = f"run {argv[0]} on {self.name}"
            if _FOREIGN.search(last):
                raise MissingResource(asked, f"a program for another processor: {last}", "build it for this device")
            raise MissingResource(asked, last or "it cannot be run", "check the program's path and permissions")
        return ended

    def _environment(self) -> dict[str, str]:
        if not self.python:
            return self._variables
        target = f"{self._root}/source-{worker_digest()}"
        if not self._source_sent:
            self._send_source(target)
        return {"PYTHONPATH": target, "PYTHONSAFEPATH": "1", "PYTHONDONTWRITEBYTECODE": "1", **self._variables}

    def _send_source(self, target: str) -> None:
        """The worker's sources in one push, if this version of them is not there yet."""
        if self._ask(["test", "-e", f"{target}/edgesmith"]).returncode != 0:
            with tempfile.TemporaryDirectory() as folder:
                for name, path in worker_files():
                    (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(path, Path(folder) / name)
                self._must(["mkdir", "-p", target])
                self._copy("push", f"{folder}/edgesmith", target)
        self._source_sent = True

    def _ask(self, argv: Sequence[str]) -> Completed:
        return self._shell(argv, _ASK_S)

    def _must(self, argv: Sequence[str]) -> None:
        ended = self._ask(argv)
        if ended.returncode != 0:
            raise self._failure(f"{argv[0]} on {self.name}", ended)

    def _copy(self, way: str, source: str, target: str) -> None:
        ended = self._here.run([*self._adb, way, source, target], _COPY_S)
        if ended.returncode != 0 or ended.timed_out:
            raise self._failure(f"{way} {source}", ended)

    def _shell(self, argv: Sequence[str], timeout_s: float, on_line: Callable[[str], None] | None = None) -> Completed:
        """A command of the phone's shell: quoted once, with a status and two outputs of its own."""
        ended = self._here.run([*self._adb, "shell", "-n", "-T", shlex.join(argv)], timeout_s, on_line)
        ours = ended.stderr.startswith(("error:", "adb:")) and any(words in ended.stderr for words in _OURS)
        # A connection that breaks while a command runs ends the program without a word.
        if ended.returncode != 0 and (ours or (not ended.stderr and not self._is_there())):
            raise self._failure(f"reach device {self.name!r}", ended)
        return ended

    def _is_there(self) -> bool:
        return self._here.run([*self._adb, "get-state"], _ASK_S).stdout.strip() == "device"

    def _failure(self, asked: str, ended: Completed) -> MissingResource:
        said = " | ".join((ended.stderr + ended.stdout).strip().splitlines()[-3:])
        if "unauthorized" in said:
            return LoginRefused(asked, said, "unlock the phone and allow this computer to debug it")
        if "No space left" in said:
            return MissingResource(asked, f"the disk there is full: {said}", "free space there or set another root")
        if any(words in said for words in _GONE):
            return ConnectionLost(asked, said, "see the cable and `adb devices`, then run it again")
        if not said:
            return ConnectionLost(asked, "the phone has gone", "see the cable and `adb devices`, then run it again")
        return MissingResource(asked, said, "see `adb devices` and the path")


def _has_died(holder: str) -> bool:
    """Whether the holder of a lock is a process of this machine and user that is no more."""
    host, _, number = holder.rpartition(" process ")
    if host != _US or not number.isdigit():
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    return False
