"""What runs on a device at the other end of a connection: files by their hash, and commands as process groups.

Its source is sent over the connection (link.py), so the device needs Python 3.8 or later and nothing else. When the
connection ends, or nothing is heard for too long, the running command is killed and the agent ends; the lock that it
held goes with it.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import platform
import shutil
import sys
import time
from pathlib import Path
from typing import Any, BinaryIO

from edgesmith.devices.frames import CHUNK, MAGIC, Reader, pack
from edgesmith.devices.processes import run_group

_IDLE_S = 6 * 3600.0


class Gone(Exception):
    """Nobody listens any more."""


class Agent:
    """Answers one message after the other. root: the folder that holds what we keep on the device."""

    def __init__(self, reader: Reader, out: BinaryIO, root: Path, silence_s: float) -> None:
        self._reader, self._out, self._root, self._silence_s = reader, out, root, silence_s
        self._store = root / "store"
        self._lock: BinaryIO | None = None
        self._heard = time.monotonic()

    def serve(self) -> None:
        """Answer until the connection ends."""
        self.send({"python": platform.python_version(), "machine": platform.machine(), "root": str(self._root)})
        while True:
            try:
                message, body = self._reader.read(_IDLE_S)
            except (EOFError, TimeoutError):
                return
            if message["do"] == "alive":
                continue
            try:
                answer, content = getattr(self, "do_" + message.pop("do"))(body=body, **message)
            except OSError as error:
                kind = errno.errorcode.get(error.errno or 0, "")
                answer, content = (
                    {"error": error.strerror or str(error), "kind": kind, "path": str(error.filename)},
                    b"",
                )
            self.send(answer, content)

    def send(self, message: dict[str, Any], body: bytes = b"") -> None:
        """Write one message."""
        try:
            self._out.write(pack(message, body))
            self._out.flush()
        except OSError as error:
            raise Gone from error

    def do_have(self, digests: list[str], body: bytes) -> tuple[dict[str, Any], bytes]:
        """How many bytes of each file are here already (-1: all), and how many are free."""
        self._store.mkdir(parents=True, exist_ok=True)
        sizes = [self._size(digest) for digest in digests]
        return {"sizes": sizes, "free": shutil.disk_usage(self._store).free}, b""

    def do_put(self, digest: str, offset: int, last: bool, body: bytes) -> tuple[dict[str, Any], bytes]:
        """Add a piece to a file; with the last one it must have the hash that names it."""
        part = self._part(digest)
        with part.open("r+b" if offset else "wb") as file:
            file.seek(offset)
            file.write(body)
            file.truncate()
        if last:
            if _digest(part) != digest:
                part.unlink()
                return {"damaged": True}, b""
            part.replace(self._store / digest)
        return {}, b""

    def do_tree(
        self, target: str, folders: list[str], files: list[tuple[str, str, int]], single: bool, body: bytes
    ) -> tuple[dict[str, Any], bytes]:
        """Build a folder (or one file) from what the store holds."""
        place = self._at(target)
        for name in folders:
            (place / name).mkdir(parents=True, exist_ok=True)
        for name, digest, mode in files:
            path = place if single else place / name
            path.parent.mkdir(parents=True, exist_ok=True)
            os.utime(self._store / digest)  # used today: kept the longest
            shutil.copyfile(self._store / digest, path)
            path.chmod(mode)
        return {}, b""

    def do_prune(self, keep_bytes: int, body: bytes) -> tuple[dict[str, Any], bytes]:
        """Delete what was not used for the longest time, until the store is small enough."""
        found = [path for path in self._store.iterdir() if path.is_file()]
        for path in sorted(found, key=lambda path: -path.stat().st_mtime):
            keep_bytes -= path.stat().st_size
            if keep_bytes < 0:
                path.unlink()
        return {}, b""

    def do_list(self, path: str, body: bytes) -> tuple[dict[str, Any], bytes]:
        """Folders and files below a path, with sizes; a file is its own only entry, called ""."""
        place = self._at(path)
        if not place.is_dir():
            return {"folders": [], "files": [["", place.stat().st_size]]}, b""
        below = sorted(place.rglob("*"))
        files = [[str(p.relative_to(place)), p.stat().st_size] for p in below if p.is_file()]
        return {"folders": ["", *(str(p.relative_to(place)) for p in below if p.is_dir())], "files": files}, b""

    def do_get(self, path: str, offset: int, body: bytes) -> tuple[dict[str, Any], bytes]:
        """A piece of a file."""
        with self._at(path).open("rb") as file:
            file.seek(offset)
            return {}, file.read(CHUNK)

    def do_remove(self, path: str, body: bytes) -> tuple[dict[str, Any], bytes]:
        """Delete a file or folder, if it is there."""
        place = self._at(path)
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        elif place.is_symlink() or place.exists():
            place.unlink()
        return {}, b""

    def do_lock(self, who: str, body: bytes) -> tuple[dict[str, Any], bytes]:
        """Be the only one, until `unlock` or the end of the connection."""
        self._root.mkdir(parents=True, exist_ok=True)
        file = (self._root / "busy.lock").open("a+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            busy = file.read().decode(errors="replace")
            file.close()
            return {"busy": busy}, b""
        file.truncate(0)
        file.write(who.encode())
        file.flush()
        self._lock = file
        return {}, b""

    def do_unlock(self, body: bytes) -> tuple[dict[str, Any], bytes]:
        """Let others in."""
        if self._lock is not None:
            self._lock.truncate(0)
            self._lock.close()
            self._lock = None
        return {}, b""

    def do_run(
        self, argv: list[str], timeout_s: float, variables: dict[str, str], body: bytes
    ) -> tuple[dict[str, Any], bytes]:
        """Run a command; its lines are sent while it runs, and nothing of it is left when the other side has gone."""
        self._heard = time.monotonic()
        program = os.path.expanduser(argv[0])  # as the device file names an interpreter
        ended = run_group(
            [program, *argv[1:]],
            timeout_s,
            {**os.environ, **variables},
            lambda line: self.send({"line": line}),
            self._watch,
        )
        return {**vars(ended)}, b""

    def _watch(self) -> None:
        """See that the other side still lives. Raises: Gone, which kills the running command."""
        while self._reader.waiting():
            try:
                message, _ = self._reader.read(self._silence_s)
            except (EOFError, TimeoutError) as error:
                raise Gone from error
            self._heard = time.monotonic()
            if message["do"] == "stop":
                raise Gone
        if time.monotonic() - self._heard > self._silence_s:
            raise Gone

    def _size(self, digest: str) -> int:
        if (self._store / digest).exists():
            return -1
        part = self._part(digest)
        return part.stat().st_size if part.exists() else 0

    def _part(self, digest: str) -> Path:
        return self._store / (digest + ".part")

    def _at(self, path: str) -> Path:
        return self._root / path  # an absolute path stays what it is


def _digest(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            found.update(chunk)
    return found.hexdigest()


def main(handle: int, root: str, silence_s: float) -> None:
    """Serve on standard output and the descriptor that the source came from."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    out.write(MAGIC)
    place = Path(root).expanduser() if root else Path.home() / ".cache" / "edgesmith"
    try:
        Agent(Reader(handle), out, place.absolute(), silence_s).serve()
    except Gone:
        sys.exit(1)
