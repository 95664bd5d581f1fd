"""This machine as a device: copies and subprocesses."""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from edgesmith.devices.entry import Rules
from edgesmith.devices.facts import this_machine
from edgesmith.devices.processes import Completed, run_group
from edgesmith.errors import DeviceBusy, MissingResource
from edgesmith.results import DeviceInfo

LOCK = "edgesmith-measures.lock"
_SOURCE = Path(__file__).resolve().parents[2]


class LocalDevice:
    """Commands run as process groups of their own, with the edgesmith that is imported here on their path.

    root: where `place` puts folders; without it they stay where they are. runtimes: those that may run here, () for
    all. alone: nobody else may measure here meanwhile, as in a fleet; measurements that somebody starts by hand are let
    in beside one another, since whoever starts them knows of both. lock: the file that tells them of each other.
    """

    def __init__(
        self,
        name: str = "local",
        root: Path | None = None,
        python: str = sys.executable,
        rules: Rules = Rules(),  # noqa: B008, it is frozen
        runtimes: tuple[str, ...] = (),
        alone: bool = False,
        lock: Path | None = None,
    ) -> None:
        self.name, self.root, self.python, self.rules = name, root, python, rules
        self.runtimes, self.alone = tuple(runtimes), alone
        self.lock = lock or Path(tempfile.gettempdir()) / LOCK

    @contextmanager
    def reserve(self) -> Iterator[None]:
        """Be alone, or beside others who need not be. Raises: DeviceBusy."""
        file = _opened(self.lock)
        try:
            try:
                fcntl.flock(file, (fcntl.LOCK_EX if self.alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
            except BlockingIOError as error:
                who = "somebody measures there" if self.alone else "a fleet measures there"
                raise DeviceBusy(f"measure on {self.name}", who, "wait for the end of it") from error
            yield
        finally:
            os.close(file)

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
        try:
            return run_group(argv, timeout_s, _environment(), on_line)
        except OSError as error:
            todo = "name an interpreter as python in the device file" if argv[0] == self.python else "check the command"
            raise MissingResource(f"run {argv[0]} on {self.name}", f"{error.strerror}", todo) from error


def _opened(lock: Path) -> int:
    plain = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(lock, plain | os.O_CREAT, 0o644)
    except PermissionError:  # it is another user's, and can be locked all the same
        return os.open(lock, plain)


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
