"""One connection to the agent of a device, opened when it is first needed and again after it was lost."""

from __future__ import annotations

import contextlib
import json
import shlex
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from edgesmith.devices.entry import DeviceEntry
from edgesmith.devices.frames import MAGIC, Reader, pack
from edgesmith.devices.ssh_command import failure, ssh_argv
from edgesmith.errors import EdgesmithError, LoginRefused, MissingResource

_HERE = Path(__file__).parent
_SENT = ("processes", "frames", "agent")
_SILENCE = 4  # heartbeats that may fail to come
_REAP_S = 5.0
_WORDS = {"get": "copy from", "list": "copy from", "remove": "delete on", "lock": "reserve"}
_WORDS |= dict.fromkeys(("have", "put", "tree"), "copy to")
_AT_ROOT = ("have", "put", "lock")  # what is done in our own folder there
# Reads the sources that follow as one line of JSON, makes modules of them and hands over.
_BOOT = """import os,sys,json,types
b=b""
while not b.endswith(b"\\n"):
    c=os.read(0,1)
    if not c: sys.exit(1)
    b+=c
n=int(b);b=b""
while len(b)<n:
    c=os.read(0,n-len(b))
    if not c: sys.exit(1)
    b+=c
s=json.loads(b)
for k,v in s["modules"]:
    m=sys.modules[k]=types.ModuleType(k);m.__path__=[]
    exec(compile(v,k,"exec"),m.__dict__)
m.main(0,s["root"],s["silence_s"])"""


class Link:
    """Messages to the agent and back."""

    def __init__(self, entry: DeviceEntry) -> None:
        self._entry = entry
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: Reader | None = None
        self._writing = threading.Lock()
        self._said = _nameless()
        self.hello: dict[str, Any] = {}
        self.opened = 0

    def ask(self, message: dict[str, Any], body: bytes = b"", timeout_s: float = 60.0) -> tuple[dict[str, Any], bytes]:
        """Send one message and wait for its answer.

        Raises: ConnectionLost, HostKeyRefused, LoginRefused, MissingResource, also for what the device refuses.
        """
        self.open()
        self._send(pack(message, body))
        return self._answer(message, timeout_s)

    def command(
        self, message: dict[str, Any], timeout_s: float, on_line: Callable[[str], None] | None
    ) -> dict[str, Any]:
        """Run a command there and follow it. Raises: as ask; when on_line raises, the command is killed."""
        self.open()
        self._send(pack(message))
        ended = threading.Event()
        beat = threading.Thread(target=self._beat, args=(ended,), daemon=True)
        beat.start()
        try:
            while True:
                answer, _ = self._answer(message, timeout_s + 60.0)
                if "line" not in answer:
                    return answer
                if on_line is not None:
                    on_line(answer["line"])
        except BaseException as error:
            if not isinstance(error, EdgesmithError):
                self.close()  # the agent sees it and kills the command
            raise
        finally:
            ended.set()
            beat.join()

    @property
    def is_open(self) -> bool:
        """Whether ssh runs."""
        return self._process is not None and self._process.poll() is None

    def open(self) -> None:
        """Connect, unless there is a connection. Raises: as ask."""
        if self.is_open:
            return
        self.close()
        _check_identity(self._entry)
        self._said.close()
        self._said = _nameless()
        boot = f"exec {_program(self._entry.python or 'python3')} -I -c {shlex.quote(_BOOT)}"
        argv = ssh_argv(self._entry, boot)
        try:
            self._process = subprocess.Popen(
                argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said, start_new_session=True
            )
        except OSError as error:
            raise MissingResource("run ssh", f"{error.strerror}", "install OpenSSH's client") from error
        assert self._process.stdout is not None  # asked for above
        self._reader = Reader(self._process.stdout.fileno())
        source = json.dumps(self._sources()).encode()
        self._send(f"{len(source)}\n".encode() + source, began=False)
        try:
            self._reader.skip_to(MAGIC, self._entry.connect_timeout_s * 2)
            self.hello, _ = self._reader.read(self._entry.connect_timeout_s)
        except (EOFError, TimeoutError) as error:
            raise self._lost(str(error), began=False) from error
        self.opened += 1

    def close(self) -> None:
        """End the connection, if there is one."""
        process, self._process = self._process, None
        if process is None:
            return
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_REAP_S)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait()

    def _sources(self) -> dict[str, Any]:
        ours = [(f"edgesmith.devices.{name}", (_HERE / f"{name}.py").read_text()) for name in _SENT]
        modules = [("edgesmith", ""), ("edgesmith.devices", ""), *ours]
        silence_s = self._entry.keepalive_s * _SILENCE
        return {"modules": modules, "root": self._entry.root or "", "silence_s": silence_s}

    def _send(self, data: bytes, began: bool = True) -> None:
        with self._writing:
            if self._process is None or self._process.stdin is None:
                raise self._lost("", began)
            try:
                self._process.stdin.write(data)
                self._process.stdin.flush()
            except (OSError, ValueError) as error:
                raise self._lost(str(error), began) from error

    def _answer(self, message: dict[str, Any], timeout_s: float) -> tuple[dict[str, Any], bytes]:
        if self._reader is None:
            raise self._lost("", began=True)
        try:
            answer, body = self._reader.read(timeout_s)
        except (EOFError, TimeoutError, ValueError) as error:
            raise self._lost(str(error), began=True) from error
        if "error" in answer:
            raise _refused(self._entry, message, answer)
        return answer, body

    def _beat(self, ended: threading.Event) -> None:
        while not ended.wait(self._entry.keepalive_s):
            try:
                self._send(pack({"do": "alive"}))
            except MissingResource:
                return  # whoever waits for the answer finds out too

    def _lost(self, found: str, began: bool) -> MissingResource:
        process = self._process
        if process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(1.0)  # so that its last words are there
        status = process.poll() if process is not None else None
        self.close()
        self._said.seek(0)
        said = self._said.read().decode(errors="replace")
        return failure(self._entry, status, said or found, began)


def _program(path: str) -> str:
    """A program as a word of the shell there, which knows where home is."""
    return '"$HOME"/' + shlex.quote(path[2:]) if path.startswith("~/") else shlex.quote(path)


def _nameless() -> IO[bytes]:
    """A file for ssh's standard error: a pipe that nobody reads would fill up and stop it."""
    return tempfile.TemporaryFile()


def _check_identity(entry: DeviceEntry) -> None:
    """ssh goes on without a key file that is not there, and is then refused for another reason."""
    if entry.identity and not Path(entry.identity).expanduser().is_file():
        raise LoginRefused(f"reach device {entry.name!r}", f"no key file {entry.identity} here", "correct identity")


def _refused(entry: DeviceEntry, message: dict[str, Any], answer: dict[str, Any]) -> MissingResource:
    what = f"{_WORDS.get(message['do'], message['do'] + ' on')} device {entry.name!r}"
    found = f"{answer['error']} ({answer['path']})"
    if answer["kind"] in ("ENOSPC", "EDQUOT"):
        return MissingResource(what, f"the disk there is full: {found}", "free space there or set another root")
    if answer["kind"] == "ENOEXEC":
        return MissingResource(what, f"a program for another processor: {found}", "build it for this device")
    if message["do"] in _AT_ROOT:
        return MissingResource(what, found, "name a folder that can be written as root in the device file")
    return MissingResource(what, found, "check the path and its permissions")
