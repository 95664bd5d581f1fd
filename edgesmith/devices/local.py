"""This machine as a device: copies and subprocesses."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from edgesmith.devices.entry import Rules
from edgesmith.devices.facts import this_machine
from edgesmith.devices.processes import Completed, run_group
from edgesmith.errors import MissingResource
from edgesmith.results import DeviceInfo

_SOURCE = Path(__file__).resolve().parents[2]


class LocalDevice:
    """Commands run as process groups of their own, with the edgesmith that is imported here on their path.

    root: where `place` puts folders; without it they stay where they are. runtimes: those that may run here, () for
    all. Nobody is kept from measuring beside us:
    whoever can start a process here knows what else runs here.
    """

    def __init__(
        self,
        name: str = "local",
        root: Path | None = None,
        python: str = sys.executable,
        rules: Rules = Rules(),  # noqa: B008, it is frozen
        runtimes: tuple[str, ...] = (),
    ) -> None:
        self.name, self.root, self.python, self.rules = name, root, python, rules
        self.runtimes = tuple(runtimes)

    def reserve(self) -> AbstractContextManager[None]:
        """Nothing to lock."""
        return nullcontext()

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
            raise MissingResource(f"run {argv[0]}", f"{error.strerror}", "check the command") from error


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
