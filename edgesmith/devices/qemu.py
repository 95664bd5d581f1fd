"""An arm64 machine that is not there: qemu runs its programs on this processor, out of a folder that holds its system.

What comes out is what arm64's instructions compute, so outputs can be compared; how long it takes says nothing about
any machine, so nothing is ever timed here. The emulated programs see this machine's files where their system has none.
"""

from __future__ import annotations

import os
import shlex
import shutil
import tempfile
import weakref
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from edgesmith.devices.ask import QUESTION, told
from edgesmith.devices.entry import DeviceEntry
from edgesmith.devices.local import LocalDevice
from edgesmith.devices.processes import Completed, run_group
from edgesmith.devices.source import worker_files
from edgesmith.errors import MissingResource, UsageError
from edgesmith.results import DeviceInfo

PYTHON = "/usr/bin/python3"
_PROGRAMS = ("qemu-aarch64-static", "qemu-aarch64")
_ASK_S = 120.0
_ARM64 = 183  # e_machine of an ELF file; source: the gABI, EM_AARCH64
_GUIDE = "docs/devices.md says how to make one"


class QemuDevice:
    """One arm64 system in a folder. root: that folder; python: the interpreter's path inside it."""

    untimed = "qemu emulates this processor, so its times say nothing about a device; time it on one"

    def __init__(self, entry: DeviceEntry) -> None:
        self.name, self.rules, self.runtimes = entry.name, entry.rules, entry.runtimes
        if not entry.root:
            raise UsageError(f"device {entry.name!r}", "it has no root", f"name an arm64 system's folder; {_GUIDE}")
        self._root = Path(entry.root).expanduser().absolute()
        inside = entry.python or PYTHON
        self._version = ""
        starter = _starter(_emulator(), self._root, _interpreter(self._root, inside))
        folder = Path(tempfile.mkdtemp(prefix="edgesmith-qemu-"))
        weakref.finalize(self, shutil.rmtree, folder, True)
        self._here = LocalDevice(entry.name, folder / "files")
        self.python = str(folder / "python")
        Path(self.python).write_text(starter)
        Path(self.python).chmod(0o755)
        self._variables = {**_environment(_copied_source(folder / "source")), **entry.variables}

    def info(self) -> DeviceInfo:
        """The emulated machine: what belongs to the real one is left out. Raises: MissingResource."""
        found = told(self.name, self.run([self.python, "-c", QUESTION], _ASK_S))
        cpu = f"arm64 emulated by {self._emulator_version()}"
        known = ("name", "os", "cores", "memory_bytes", "instruction_set", "python")
        return DeviceInfo(**{fact: getattr(found, fact) for fact in known}, cpu=cpu)

    def reserve(self) -> AbstractContextManager[None]:
        """Nothing to lock: nothing is timed."""
        return self._here.reserve()

    def place(self, folder: Path) -> str:
        """Its name below a folder of ours, which goes with this object."""
        return self._here.place(folder)

    def push(self, local: Path, remote: str) -> None:
        """Copy a file or folder. Raises: MissingResource."""
        self._here.push(local, remote)

    def pull(self, remote: str, local: Path) -> None:
        """Copy a file or folder. Raises: MissingResource."""
        self._here.pull(remote, local)

    def remove(self, remote: str) -> None:
        """Delete a file or folder, if it is there."""
        self._here.remove(remote)

    def run(self, argv: Sequence[str], timeout_s: float, on_line: Callable[[str], None] | None = None) -> Completed:
        """Run a command of this machine; `python` is the one that starts the emulated interpreter.

        Raises: MissingResource when it cannot start.
        """
        try:
            return run_group(argv, timeout_s, self._variables, on_line)
        except OSError as error:
            raise MissingResource(f"run {argv[0]}", f"{error.strerror}", "check the command") from error

    def _emulator_version(self) -> str:
        said = self._here.run([_emulator(), "--version"], _ASK_S).stdout.split()
        return f"QEMU {said[2]}" if len(said) > 2 else "QEMU"


def _emulator() -> str:
    found = next(filter(None, map(shutil.which, _PROGRAMS)), None)
    if found is None:
        todo = "install qemu's user mode emulation (Debian: apt-get install qemu-user-static)"
        raise MissingResource("run arm64 programs", f"neither {' nor '.join(_PROGRAMS)} is on the path", todo)
    return found


def _interpreter(root: Path, inside: str) -> Path:
    """The interpreter of the system in `root`, as a file of this machine. Raises: MissingResource."""
    asked = f"open the arm64 system {root}"
    if not root.is_dir():
        raise MissingResource(asked, "no such folder", _GUIDE)
    path = root / inside.lstrip("/")
    try:
        head = path.read_bytes()[:20]
    except OSError as error:
        raise MissingResource(asked, f"no {inside} there: {error.strerror}", _GUIDE) from error
    if head[:4] != b"\x7fELF" or int.from_bytes(head[18:20], "little") != _ARM64:
        raise MissingResource(asked, f"{inside} there is no arm64 program", f"make it for arm64; {_GUIDE}")
    return path


def _starter(emulator: str, root: Path, interpreter: Path) -> str:
    """A program of this machine in place of the interpreter: whoever starts `sys.executable` comes through it again."""
    words = shlex.join([emulator, "-L", str(root)]), shlex.quote(str(interpreter))
    return f'#!/bin/sh\nexec {words[0]} -0 "$0" {words[1]} "$@"\n'


def _copied_source(folder: Path) -> Path:
    """The worker's sources alone: beside an installed edgesmith lie packages of the wrong processor."""
    for name, path in worker_files():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, folder / name)
    return folder


def _environment(source: Path) -> dict[str, str]:
    """Ours, without what speaks of this machine's interpreter and libraries."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "LD_"))}
    return {**kept, "PYTHONPATH": str(source), "PYTHONSAFEPATH": "1", "PYTHONDONTWRITEBYTECODE": "1"}
