"""The interpreter that a worker gets on a device: the one there, or a virtual environment with what artefacts need."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from edgesmith.devices.device import Device
from edgesmith.devices.entry import WorkerEnv
from edgesmith.errors import MissingResource

# Runtime -> the distributions that a worker needs for it.
_NEEDS = {
    "ort": ("numpy", "onnxruntime"),
    "torch-cuda": ("numpy", "torch"),
    "torch-compile": ("numpy", "torch"),
    "ort-cuda": ("numpy", "onnxruntime-gpu"),
    "openvino": ("numpy", "openvino"),
    "torch": ("numpy", "torch"),
    "executorch": ("numpy", "torch", "executorch"),
    "coreml": ("numpy", "coremltools"),
    "tensorrt": ("numpy", "tensorrt"),
    "tensorrt-rtx": ("numpy", "tensorrt-rtx"),
}
_UV = ("uv", "~/.local/bin/uv")  # its installer's place is not on the path of a command that comes over ssh
_MAKE_S = 1800.0
_LOOK = """import importlib.metadata as m, sys
for line in sys.argv[1:]:
    name, _, version = line.partition("==")
    try:
        found = m.version(name)
    except m.PackageNotFoundError:
        found = ""
    print(line if not found or (version and found != version) else "")"""


def requirements(runtimes: Iterable[str], env: WorkerEnv) -> tuple[str, ...]:
    """What has to be installed: the entry's own list, else what the runtimes need."""
    needed = dict.fromkeys(name for runtime in runtimes for name in _NEEDS.get(runtime, ("numpy",)))
    return env.packages or tuple(needed)


@contextmanager
def worker_python(device: Device, runtimes: Iterable[str]) -> Iterator[str]:
    """An interpreter on the device that has what these runtimes need; one made for this is removed afterwards.

    Raises: MissingResource when it cannot be made.
    """
    env: WorkerEnv = getattr(device, "env", WorkerEnv())
    wanted = requirements(runtimes, env)
    if env.kind == "present" or not _absent(device, device.python, wanted):
        yield device.python
        return
    name = hashlib.sha256("\n".join((device.python, env.kind, *wanted)).encode()).hexdigest()[:12]
    folder = device.place(Path(f"/edgesmith-env-{name}"))
    try:
        yield _made(device, folder, wanted, env)
    finally:
        if not env.keep:
            device.remove(folder)


def _made(device: Device, folder: str, wanted: Sequence[str], env: WorkerEnv) -> str:
    python, uv = f"{folder}/bin/python", _uv(device) if env.kind == "uv" else ""
    if device.run(["test", "-x", python], 30).returncode != 0:
        make = [uv, "venv", "--quiet", "--python", _path_of(device)] if uv else [device.python, "-m", "venv"]
        _do(device, [*make, "--system-site-packages", folder])
    absent = _absent(device, python, wanted)
    if absent:
        install = [uv, "pip", "install", "--python", python] if uv else [python, "-m", "pip", "install"]
        offline = ["--no-index", "--find-links", env.find_links] if env.find_links else []
        _do(device, [*install, "--quiet", *offline, *map(_pinned, absent)])
    return python


def _uv(device: Device) -> str:
    """How uv is called there, or "" where it is not: venv does the same, only slower."""
    for program in _UV:
        with contextlib.suppress(MissingResource):
            if device.run([program, "--version"], 30).returncode == 0:
                return program
    return ""


def _path_of(device: Device) -> str:
    """The interpreter's own path: uv knows no "~", which the device file may have."""
    ended = device.run([device.python, "-c", "import sys; print(sys.executable)"], 30)
    return ended.stdout.strip() or device.python


def _absent(device: Device, python: str, wanted: Sequence[str]) -> list[str]:
    """Those requirements that an interpreter there does not have; one that is no name of a distribution is absent."""
    ended = device.run([python, "-c", _LOOK, *wanted], 60)
    return [line for line in ended.stdout.splitlines() if line] if ended.returncode == 0 else list(wanted)


def _pinned(requirement: str) -> str:
    """The version that is installed here, unless the requirement says its own: what was tried is what runs there."""
    if not re.fullmatch(r"[\w.-]+", requirement):
        return requirement
    try:
        return f"{requirement}=={importlib.metadata.version(requirement).partition('+')[0]}"
    except importlib.metadata.PackageNotFoundError:
        return requirement


def _do(device: Device, argv: Sequence[str]) -> None:
    ended = device.run(argv, _MAKE_S)
    if ended.returncode != 0:
        last = " | ".join((ended.stderr or ended.stdout).strip().splitlines()[-3:])
        todo = "see env in the device file: find_links names a folder of wheels for a device without a network"
        raise MissingResource(f"make the worker's environment on {device.name}", last, todo)
