"""Fleet files: which devices measure, how often a job is tried, and where the cluster is; every mistake at once."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, TypeAdapter, ValidationError

from edgesmith.devices.dispatch import Limits
from edgesmith.devices.entry import DeviceEntry
from edgesmith.errors import MissingResource, UsageError
from edgesmith.pipeline.device_file import DEFAULT, find_device, read_devices

Positive = Annotated[float, Field(gt=0)]


@dataclass(frozen=True)
class Settings:
    """What a fleet file may say.

    only: names of devices, all of the device file if none is named. devices: that file, beside this one. cluster:
    address of a Ray cluster, "auto" for the one of this machine; without it all devices hang on this machine. tries:
    of one job. busy_s: how long a job waits for somebody else who measures on its device. timeout_s: of one
    measurement.
    """

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012, pydantic reads it from the class
    only: tuple[str, ...] = ()
    devices: str = str(DEFAULT)
    cluster: str | None = None
    tries: Annotated[int, Field(ge=1)] = 3
    busy_s: Positive = 3600.0
    timeout_s: Positive = 3600.0


@dataclass(frozen=True)
class Fleet:
    """A fleet file as it was understood."""

    devices: dict[str, DeviceEntry]
    limits: Limits
    cluster: str | None
    timeout_s: float


def read_fleet(path: Path) -> Fleet:
    """Read and check a fleet file and the devices that it names. Raises: UsageError, MissingResource."""
    settings = _settings(path, _mapping(path))
    file = path.parent / settings.devices
    if not settings.only:
        entries = read_devices(file)
    else:
        known = file if file.exists() or settings.devices != str(DEFAULT) else None
        entries = {name: find_device(name, known) for name in settings.only}
    return Fleet(entries, Limits(settings.tries, busy_s=settings.busy_s), settings.cluster, settings.timeout_s)


def _mapping(path: Path) -> dict[str, Any]:
    try:
        raw = yaml.safe_load(path.read_text())
    except OSError as error:
        raise MissingResource(f"read fleet file {path}", f"{error.strerror}", "name a .yaml file") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(
            f"read fleet file {path}", f"not YAML: {' '.join(str(error).split())}", "correct it"
        ) from error
    if not isinstance(raw, dict):
        raise UsageError(f"read fleet file {path}", "it is no mapping", "write at least `only: [name, name]`")
    return raw


def _settings(path: Path, raw: dict[str, Any]) -> Settings:
    try:
        return TypeAdapter(Settings).validate_python(raw)
    except ValidationError as error:
        problems = [_line(item) for item in error.errors()]
        raise UsageError(
            f"read fleet file {path}", "\n  ".join(["", *problems]).strip(), "correct each line"
        ) from error


def _line(item: Any) -> str:
    where = ".".join(str(part) for part in item["loc"])
    if item["type"] == "unexpected_keyword_argument":
        return f"{where}: no such key (there are: {', '.join(f.name for f in fields(Settings))})"
    return f"{where}: {item['msg']} (got {item['input']!r})"
