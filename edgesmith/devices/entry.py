"""How one device is reached and what has to hold there: a row of a device file, without any secret."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

if TYPE_CHECKING:
    from edgesmith.devices.device import Device


_STRICT = {"extra": "forbid"}  # for whoever reads entries by their types


@dataclass(frozen=True)
class Rules:
    """What has to hold before something is measured; None asks for nothing.

    A device that is too warm is given `cool_down_s` seconds. min_battery_percent counts where there is a battery.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT
    max_temperature_c: float | None = None
    cool_down_s: float = 0.0
    governor: str | None = None
    min_battery_percent: float | None = None


@dataclass(frozen=True)
class WorkerEnv:
    """Where the worker's packages come from: the interpreter's own, or a virtual environment made for the job.

    kind: present for the former; venv, or uv, which stands for venv where uv is not installed on the device.
    packages: requirements, instead of those that the artefacts' runtimes need. find_links: a folder of wheels on the
    device, for one without a network. keep: the environment stays there for the next job.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT
    kind: Literal["present", "venv", "uv"] = "present"
    packages: tuple[str, ...] = ()
    find_links: str | None = None
    keep: bool = False


@dataclass(frozen=True)
class Runner:
    """A native program on the device: a row of bench/runners, and where its binary stands there."""

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT
    use: str
    program: str


@dataclass(frozen=True)
class DeviceEntry:
    """One device. address: host name or IP for ssh, serial number for adb (its default: the only one there is).

    host_key: "SHA256:..." as `ssh-keygen -lf` prints it; without it the key must stand in known_hosts. jump:
    "user@host:port" to go through. identity: path of a key file; without it the agent and ssh's own defaults.
    root: folder for our files there; for qemu the folder of an arm64 system, inside which python is a path.
    runtimes: those that may run there, () for all; the targets of others are not measured.
    variables: environment of commands. runners: runtime -> native program.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT
    name: str
    transport: str = "local"
    address: str = ""
    port: int | None = None
    user: str | None = None
    python: str | None = None
    root: str | None = None
    runtimes: tuple[str, ...] = ()
    env: WorkerEnv = WorkerEnv()
    variables: Mapping[str, str] = field(default_factory=dict)
    rules: Rules = Rules()
    runners: Mapping[str, Runner] = field(default_factory=dict)
    host_key: str | None = None
    known_hosts: str | None = None
    jump: str | None = None
    identity: str | None = None
    connect_timeout_s: float = 15.0
    keepalive_s: float = 15.0


def open_device(entry: DeviceEntry) -> Device:
    """The transport that an entry names; nothing is asked of the device yet. Raises: UsageError."""
    from edgesmith.devices import DEVICES

    factory: Any = DEVICES.get(entry.transport)
    if entry.transport == "local":
        python = entry.python or sys.executable
        device: Device = factory(entry.name, python=python, rules=entry.rules, runtimes=entry.runtimes)
        return device
    device = factory() if entry.transport == "null" else factory(entry)
    return device
