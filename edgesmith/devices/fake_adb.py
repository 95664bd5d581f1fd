"""An adb server without phones: the protocol that the real `adb` program speaks to it, files and shell on this machine.

It answers host:version, host:features, host:devices and host:transport (host:tport of newer programs), then shell v2
and sync (STAT, STA2, LST2, LIST, SEND, RECV). Source: adb's OVERVIEW.TXT, SERVICES.TXT, SYNC.TXT and shell_protocol.h
in the Android Open Source Project.
"""

from __future__ import annotations

import os
import socket
import socketserver
import stat
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

_VERSION = 41  # of the protocol between program and server; another one makes the program start a server of its own
_FEATURES = "shell_v2,cmd,stat_v2"
_STDOUT, _STDERR, _EXIT = 1, 2, 3
_CHUNK = 64 * 1024


class Phone:
    """What the server pretends to have. state: "device", "offline" or "unauthorized"; "" for unplugged."""

    def __init__(self, serial: str = "fake-1", state: str = "device") -> None:
        self.serial, self.state = serial, state
        self.full = False  # whether its disk is
        self.running: list[tuple[subprocess.Popen[bytes], Any]] = []

    def unplug(self) -> None:
        """Break every command that runs, and answer no more."""
        self.state = ""
        for process, connection in self.running:
            connection.shutdown(socket.SHUT_RDWR)
            process.kill()

    def refusal(self, asked: str) -> str:
        """Why a request for a phone cannot be had, or ""."""
        if not self.state or (asked and asked != self.serial):
            return f"device '{asked}' not found" if asked else "no devices/emulators found"
        reasons = {"offline": "device offline", "unauthorized": "device unauthorized."}
        return reasons.get(self.state, "")


@contextmanager
def serving(phone: Phone) -> Iterator[int]:
    """Listen on a free port of loopback until the block ends; gives the port."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            """One connection of the program."""
            try:
                _Conversation(phone, self.rfile, self.wfile, self.connection).hold()
            except (EOFError, OSError):
                return  # the program has gone

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads, allow_reuse_address = True, True

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            thread.join()


class _Conversation:
    def __init__(self, phone: Phone, come: Any, go: Any, connection: Any) -> None:
        self._phone, self._in, self._out, self._connection = phone, come, go, connection

    def hold(self) -> None:
        while True:
            service = self._take(int(self._take(4), 16)).decode()
            if not self._answer(service):
                return

    def _answer(self, service: str) -> bool:
        """Whether the connection goes on: it does after it was switched to a phone."""
        if service.startswith(("host:transport", "host:tport")):
            return self._switch(service)
        if service.startswith("host"):
            prefix, _, what = service.rpartition(":")
            self._host(what, prefix.removeprefix("host-serial:") if prefix.startswith("host-serial:") else "")
        elif service == "sync:":
            self._okay()
            _Sync(self._phone, self._in, self._out).serve()
        elif service.startswith("shell,v2"):
            self._okay()
            self._shell(service.partition(":")[2])
        else:
            self._fail(f"unknown service {service}")
        return False

    def _switch(self, service: str) -> bool:
        _, kind, *rest = service.split(":", 2)
        serial = rest[0] if rest and kind in ("transport", "tport") else ""
        serial = serial.removeprefix("serial:") if serial.startswith("serial:") else serial
        refusal = self._phone.refusal("" if serial in ("any", "usb", "local") else serial)
        if refusal:
            self._fail(refusal)
            return False
        self._okay(struct.pack("<Q", 1) if kind == "tport" else b"")
        return True

    def _host(self, what: str, serial: str) -> None:
        answers = {
            "version": f"{_VERSION:04x}",
            "features": _FEATURES,
            "host-features": _FEATURES,
            "get-state": self._phone.state,
            "devices": f"{self._phone.serial}\t{self._phone.state}\n",
        }
        text = answers.get(what)
        refusal = self._phone.refusal(serial) if what in ("features", "get-state") else ""
        if text is None or refusal:
            self._fail(refusal or f"unknown request {what}")
        else:
            self._okay(f"{len(text):04x}{text}".encode())

    def _shell(self, command: str) -> None:
        process = subprocess.Popen(
            ["sh", "-c", command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        running = (process, self._connection)
        self._phone.running.append(running)
        lock = threading.Lock()
        pumps = [
            threading.Thread(target=self._pump, args=(stream, number, lock), daemon=True)
            for number, stream in ((_STDOUT, process.stdout), (_STDERR, process.stderr))
        ]
        for pump in pumps:
            pump.start()
        status = process.wait()
        self._phone.running.remove(running)
        for pump in pumps:
            pump.join(1.0)  # a process in the background may hold the pipe open
        with lock:
            self._packet(_EXIT, bytes([status if status >= 0 else 128 - status]))

    def _pump(self, stream: BinaryIO, number: int, lock: threading.Lock) -> None:
        while chunk := os.read(stream.fileno(), _CHUNK):
            with lock:
                try:
                    self._packet(number, chunk)
                except (OSError, ValueError):
                    return  # the program has gone

    def _packet(self, number: int, data: bytes) -> None:
        self._out.write(struct.pack("<BI", number, len(data)) + data)
        self._out.flush()

    def _okay(self, more: bytes = b"") -> None:
        self._out.write(b"OKAY" + more)
        self._out.flush()

    def _fail(self, reason: str) -> None:
        text = reason.encode()
        self._out.write(b"FAIL" + f"{len(text):04x}".encode() + text)
        self._out.flush()

    def _take(self, count: int) -> bytes:
        return _exactly(self._in, count)


class _Sync:
    """The file service: requests of an id and a path, until QUIT."""

    def __init__(self, phone: Phone, come: Any, go: Any) -> None:
        self._phone, self._in, self._out = phone, come, go

    def serve(self) -> None:
        while True:
            kind, size = struct.unpack("<4sI", _exactly(self._in, 8))
            name = _exactly(self._in, size)
            if kind == b"QUIT":
                return
            acts = {b"STAT": self._stat, b"LST2": self._stat_2, b"STA2": self._stat_2, b"LIST": self._list}
            acts |= {b"SEND": self._receive, b"RECV": self._send}
            if kind not in acts:
                self._fail(f"unknown request {kind!r}")
                return
            acts[kind](kind, name)
            self._out.flush()

    def _stat(self, kind: bytes, name: bytes) -> None:
        found = _lstat(name)
        fields = (found.st_mode, found.st_size & 0xFFFFFFFF, int(found.st_mtime)) if found else (0, 0, 0)
        self._out.write(struct.pack("<4sIII", kind, *fields))

    def _stat_2(self, kind: bytes, name: bytes) -> None:
        found = _lstat(name) if kind == b"LST2" else _stat(name)
        if found is None:
            self._out.write(struct.pack("<4sIQQIIIIQqqq", kind, 2, *([0] * 10)))
            return
        numbers = (found.st_dev, found.st_ino, found.st_mode, found.st_nlink, found.st_uid, found.st_gid)
        times = (int(found.st_atime), int(found.st_mtime), int(found.st_ctime))
        self._out.write(struct.pack("<4sIQQIIIIQqqq", kind, 0, *numbers, found.st_size, *times))

    def _list(self, kind: bytes, name: bytes) -> None:
        for entry in sorted(os.listdir(name)) if os.path.isdir(name) else []:
            found = os.lstat(os.path.join(name, entry))
            head = struct.pack(
                "<4sIIII", b"DENT", found.st_mode, found.st_size & 0xFFFFFFFF, int(found.st_mtime), len(entry)
            )
            self._out.write(head + entry)
        self._out.write(struct.pack("<4sIIII", b"DONE", 0, 0, 0, 0))

    def _receive(self, kind: bytes, name: bytes) -> None:
        path, _, mode = name.rpartition(b",")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open("/dev/full" if self._phone.full else path, "wb", buffering=0) as file:
            problem = ""
            while True:
                part, size = struct.unpack("<4sI", _exactly(self._in, 8))
                if part == b"DONE":
                    break
                data = _exactly(self._in, size)
                try:
                    file.write(data)
                except OSError as error:
                    problem = error.strerror or "write failed"
        if problem:
            self._fail(f"couldn't write '{os.fsdecode(path)}': {problem}")
            return
        os.chmod(path, stat.S_IMODE(int(mode)) or 0o644)
        self._out.write(struct.pack("<4sI", b"OKAY", 0))

    def _send(self, kind: bytes, name: bytes) -> None:
        if not Path(os.fsdecode(name)).is_file():
            self._fail("No such file or directory")
            return
        with open(name, "rb") as file:
            while data := file.read(_CHUNK):
                self._out.write(struct.pack("<4sI", b"DATA", len(data)) + data)
        self._out.write(struct.pack("<4sI", b"DONE", 0))

    def _fail(self, reason: str) -> None:
        text = reason.encode()
        self._out.write(struct.pack("<4sI", b"FAIL", len(text)) + text)
        self._out.flush()


def _exactly(stream: Any, count: int) -> bytes:
    data: bytes = stream.read(count)
    if len(data) < count:
        raise EOFError("the program has gone")
    return data


def _lstat(name: bytes) -> os.stat_result | None:
    try:
        return os.lstat(name)
    except OSError:
        return None


def _stat(name: bytes) -> os.stat_result | None:
    try:
        return os.stat(name)
    except OSError:
        return None
