"""The contract of a device: a way to a machine that measures, whatever its hardware is.

A transport carries files and commands; CPU, GPU and operating system are facts that `info` reports.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from edgesmith.devices.entry import Rules
from edgesmith.devices.processes import Completed
from edgesmith.results import DeviceInfo


class Device(Protocol):
    """One machine. python: the interpreter there that has numpy and can import edgesmith, "" where there is none.

    rules: what has to hold there before something is measured.
    """

    name: str
    python: str
    rules: Rules

    def info(self) -> DeviceInfo:
        """What the machine is."""
        ...

    def reserve(self) -> AbstractContextManager[None]:
        """Be the only one that measures there. Raises: DeviceBusy."""
        ...

    def place(self, folder: Path) -> str:
        """Where a local folder is to stand on the device; the same path where the file system is shared."""
        ...

    def push(self, local: Path, remote: str) -> None:
        """Copy a file or folder to the device. Raises: MissingResource."""
        ...

    def pull(self, remote: str, local: Path) -> None:
        """Copy a file or folder from the device. Raises: MissingResource."""
        ...

    def remove(self, remote: str) -> None:
        """Delete a file or folder on the device, if it is there."""
        ...

    def run(self, argv: Sequence[str], timeout_s: float, on_line: Callable[[str], None] | None = None) -> Completed:
        """Run a command to its end, or kill it and all that it started after `timeout_s`.

        on_line gets each line of its standard output while it runs. Raises: MissingResource when it cannot start.
        """
        ...
