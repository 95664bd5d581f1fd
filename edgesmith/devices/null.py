"""A device without a machine: files live in a folder of its own, commands answer what they were told to."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from edgesmith.devices.entry import Rules
from edgesmith.devices.local import LocalDevice
from edgesmith.devices.processes import Completed
from edgesmith.errors import MissingResource
from edgesmith.results import DeviceInfo

NULL_INFO = DeviceInfo("null", "none", "none", 1, 1 << 30, "x86", "3.10")


class NullDevice:
    """The in-package fake.

    answers: program name -> how it ends, instead of running it; other commands run on this machine.
    broken: the device is out of reach, and everything raises MissingResource. commands: what was run.
    """

    def __init__(
        self, root: Path | None = None, answers: Mapping[str, Completed] | None = None, broken: bool = False
    ) -> None:
        self.name, self.python = "null", sys.executable
        self.answers, self.broken = dict(answers or {}), broken
        self.commands: list[tuple[str, ...]] = []
        self.rules = Rules()
        self._machine = LocalDevice("null", root)

    def info(self) -> DeviceInfo:
        """Fixed facts."""
        self._reach()
        return NULL_INFO

    def reserve(self) -> AbstractContextManager[None]:
        """Nothing to lock."""
        return nullcontext()

    def place(self, folder: Path) -> str:
        """The folder's path, or its name below `root`."""
        return self._machine.place(folder)

    def push(self, local: Path, remote: str) -> None:
        """Copy to the device. Raises: MissingResource."""
        self._reach()
        self._machine.push(local, remote)

    def pull(self, remote: str, local: Path) -> None:
        """Copy from the device. Raises: MissingResource."""
        self._reach()
        self._machine.pull(remote, local)

    def remove(self, remote: str) -> None:
        """Delete on the device."""
        self._reach()
        self._machine.remove(remote)

    def run(self, argv: Sequence[str], timeout_s: float, on_line: Callable[[str], None] | None = None) -> Completed:
        """Answer as told, or run the command on this machine. Raises: MissingResource."""
        self._reach()
        self.commands.append(tuple(argv))
        told = self.answers.get(os.path.basename(argv[0]))
        return told if told is not None else self._machine.run(argv, timeout_s, on_line)

    def _reach(self) -> None:
        if self.broken:
            raise MissingResource("reach device 'null'", "it was told to be out of reach", "tell it otherwise")
