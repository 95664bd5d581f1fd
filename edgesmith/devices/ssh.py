"""A machine behind ssh: OpenSSH's own client carries the messages, an agent that it starts does the work there.

Files go into a store on the device that is named by their hash, so that only what changed travels, and what travelled
half before the connection broke goes on from there.
"""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import os
import socket
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from edgesmith.devices.ask import QUESTION, told
from edgesmith.devices.entry import DeviceEntry
from edgesmith.devices.frames import CHUNK
from edgesmith.devices.link import Link
from edgesmith.devices.processes import Completed
from edgesmith.devices.source import worker_digest, worker_files
from edgesmith.errors import ConnectionLost, DamagedArtifact, DeviceBusy, MissingResource, UsageError
from edgesmith.results import DeviceInfo

_TRIES = 4
_PAUSE_S = 0.5
_KEPT_BYTES = 4 << 30
_ROOM_BYTES = 16 << 20

T = TypeVar("T")


class SshDevice:
    """One connection, opened on first use; commands have the worker's sources on their path. close() ends it."""

    def __init__(self, entry: DeviceEntry) -> None:
        if not entry.address or entry.address.startswith("-"):
            raise UsageError(f"device {entry.name!r}", f"address {entry.address!r}", "name a host")
        self.name, self.rules, self.env = entry.name, entry.rules, entry.env
        self.python, self.runtimes = entry.python or "python3", entry.runtimes
        self._variables = dict(entry.variables)
        self._link = Link(entry)
        self._source_sent = 0

    def info(self) -> DeviceInfo:
        """What the machine says of itself. Raises: MissingResource, DamagedArtifact."""
        return told(self.name, self.run([self.python, "-c", QUESTION], 60))

    @contextmanager
    def reserve(self) -> Iterator[None]:
        """Hold the lock of the device; it goes with the connection. Raises: DeviceBusy."""
        who = f"{getpass.getuser()}@{socket.gethostname()}"
        # A lock goes with its connection, so after a loss it may be asked for again.
        answer, _ = self._retried(lambda: self._link.ask({"do": "lock", "who": who}))
        if "busy" in answer:
            found = f"{answer['busy'] or 'somebody'} measures there"
            raise DeviceBusy(f"measure on {self.name}", found, "wait for the end of it")
        opened = self._link.opened
        try:
            yield
        finally:
            if self._link.opened == opened:
                with contextlib.suppress(ConnectionLost):  # then the lock has gone with it
                    self._link.ask({"do": "unlock"})

    def place(self, folder: Path) -> str:
        """A folder below our root there; two that have the same name here do not meet."""
        self._link.open()
        path = str(folder.resolve())
        return f"{self._link.hello['root']}/jobs/{hashlib.sha256(path.encode()).hexdigest()[:12]}"

    def push(self, local: Path, remote: str) -> None:
        """Copy a file or folder; pieces that are there already do not travel. Raises: MissingResource."""
        if not local.exists():
            raise MissingResource(f"copy {local}", "no such file or folder", "check the path")
        below = sorted(local.rglob("*")) if local.is_dir() else [local]
        files = [(str(path.relative_to(local)), path) for path in below if path.is_file()]
        folders = ["", *(str(path.relative_to(local)) for path in below if path.is_dir())] if local.is_dir() else []
        self._retried(lambda: self._place_files(remote, folders, files, not local.is_dir()))

    def pull(self, remote: str, local: Path) -> None:
        """Copy a file or folder here; a broken transfer goes on where it was. Raises: MissingResource."""
        listing, _ = self._retried(lambda: self._link.ask({"do": "list", "path": remote}))
        for name in listing["folders"]:
            _inside(local, name).mkdir(parents=True, exist_ok=True)
        for name, size in listing["files"]:
            target = _inside(local, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            self._fetch(f"{remote}/{name}" if name else remote, size, target)

    def remove(self, remote: str) -> None:
        """Delete a file or folder there, if it is there."""
        self._retried(lambda: self._link.ask({"do": "remove", "path": remote}))

    def run(self, argv: Sequence[str], timeout_s: float, on_line: Callable[[str], None] | None = None) -> Completed:
        """Run a command there; nothing of its process group is left, also if the connection is lost.

        Raises: MissingResource when it cannot start, ConnectionLost.
        """
        source = self._source()
        variables = {"PYTHONPATH": source, "PYTHONSAFEPATH": "1", "PYTHONDONTWRITEBYTECODE": "1", **self._variables}
        message = {"do": "run", "argv": list(argv), "timeout_s": timeout_s, "variables": variables}
        try:
            return Completed(**self._link.command(message, timeout_s, on_line))
        except ConnectionLost:
            raise
        except MissingResource as error:
            raise MissingResource(f"run {argv[0]} on {self.name}", error.found, error.todo) from error

    def close(self) -> None:
        """Keep what was used last of the files there, and end the connection."""
        with contextlib.suppress(MissingResource):
            if self._link.is_open:
                self._link.ask({"do": "prune", "keep_bytes": _KEPT_BYTES})
        self._link.close()

    def _source(self) -> str:
        """Where the worker's sources are there, after they were sent."""
        self._link.open()
        target = f"{self._link.hello['root']}/source-{worker_digest()}"
        if self._source_sent != self._link.opened:
            self._retried(lambda: self._place_files(target, [""], list(worker_files()), False))
            self._source_sent = self._link.opened
        return target

    def _place_files(self, target: str, folders: list[str], files: list[tuple[str, Path]], single: bool) -> None:
        digests = {path: _digest(path) for _, path in files}
        self._send_missing(digests)
        rows = [(name, digests[path], stat.S_IMODE(path.stat().st_mode)) for name, path in files]
        self._link.ask({"do": "tree", "target": target, "folders": folders, "files": rows, "single": single}, b"", 600)

    def _send_missing(self, digests: dict[Path, str]) -> None:
        by_digest = {digest: path for path, digest in digests.items()}
        answer, _ = self._link.ask({"do": "have", "digests": list(by_digest)})
        sizes = dict(zip(by_digest, answer["sizes"]))
        missing = {digest: path for digest, path in by_digest.items() if sizes[digest] >= 0}
        needed = sum(path.stat().st_size for path in by_digest.values()) + _ROOM_BYTES  # the copies need room too
        if needed > answer["free"]:
            found = f"the disk there is full: {answer['free']} bytes are free where {needed} are needed"
            raise MissingResource(f"copy files to {self.name}", found, "free space there or set another root")
        for digest, path in missing.items():
            self._send_file(path, digest, min(sizes[digest], path.stat().st_size))

    def _send_file(self, path: Path, digest: str, offset: int) -> None:
        size = path.stat().st_size
        with path.open("rb") as file:
            file.seek(offset)
            while True:
                chunk = file.read(CHUNK)
                last = offset + len(chunk) >= size
                answer, _ = self._link.ask({"do": "put", "digest": digest, "offset": offset, "last": last}, chunk)
                offset += len(chunk)
                if answer.get("damaged"):
                    raise DamagedArtifact(f"copy {path}", "it changed on the way", "run it again")
                if last:
                    return

    def _fetch(self, remote: str, size: int, target: Path) -> None:
        with target.open("wb") as file:
            while (offset := file.tell()) < size:
                ask = {"do": "get", "path": remote, "offset": offset}
                _, chunk = self._retried(lambda ask=ask: self._link.ask(ask))  # type: ignore[misc]
                if not chunk:
                    raise DamagedArtifact(f"copy {remote}", "it became shorter meanwhile", "run it again")
                file.write(chunk)

    def _retried(self, act: Callable[[], T]) -> T:
        """Do it again after a lost connection: what is asked for here may be done twice."""
        for _ in range(_TRIES - 1):
            try:
                return act()
            except ConnectionLost:
                time.sleep(_PAUSE_S)
        return act()


def _inside(folder: Path, name: str) -> Path:
    """A path that a device named, which must not lead out of the folder. Raises: DamagedArtifact."""
    path = folder / name if name else folder
    if os.path.isabs(name) or ".." in Path(name).parts:
        raise DamagedArtifact(f"copy {name!r}", "it leads out of its folder", "do not trust this device")
    return path


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
