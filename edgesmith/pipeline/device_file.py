"""Device files: YAML with a row a device in, checked entries out, every mistake at once and never a secret."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from edgesmith import records
from edgesmith.bench.runners import RUNNERS
from edgesmith.devices import DEVICES
from edgesmith.devices.device import Device
from edgesmith.devices.entry import DeviceEntry, Rules, WorkerEnv, open_device
from edgesmith.errors import MissingResource, UsageError
from edgesmith.records import from_json, to_json
from edgesmith.results import DeviceInfo
from edgesmith.runtimes import RUNTIMES

DEFAULT = Path("devices.yaml")
_SECRET = re.compile(r"pass(word|phrase|wd)?$|secret|token|credential|private", re.I)
_NAME = re.compile(r"\w[\w.-]*")
_SSH_ONLY = ("user", "host_key", "known_hosts", "jump", "identity")


def read_devices(path: Path) -> dict[str, DeviceEntry]:
    """All devices of a file, by name. Raises: UsageError with every mistake and its path, MissingResource."""
    try:
        raw = yaml.safe_load(path.read_text())
    except OSError as error:
        raise MissingResource(f"read device file {path}", f"{error.strerror}", "name a .yaml file") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise _mistakes(path, [f"not YAML: {' '.join(str(error).split())}"]) from error
    rows = raw.get("devices") if isinstance(raw, dict) else None
    if not isinstance(rows, dict) or not rows:
        raise _mistakes(path, ["devices: write a mapping, name of a device: {transport: ssh, address: ..., ...}"])
    problems = [f"{key}: no such section (there is: devices)" for key in raw if key != "devices"]
    found = {}
    for name, row in rows.items():
        secret = list(_secrets(f"devices.{name}", row))
        said = {line.partition(": ")[0] for line in secret}
        entry, wrong = _entry(str(name), row)
        problems += [*secret, *(line for line in wrong if line.partition(": ")[0] not in said)]
        if entry is not None:
            found[entry.name] = entry
    if problems:
        raise _mistakes(path, problems)
    return found


def find_device(name: str, file: Path | None) -> DeviceEntry:
    """The entry called `name`; "local" and the other transports without an address need no file.

    Without a file devices.yaml of this folder is read, if it is there. Raises: UsageError, MissingResource.
    """
    path = file or (DEFAULT if DEFAULT.exists() else None)
    known = read_devices(path) if path is not None else {}
    if name in known:
        return known[name]
    if name in ("local", "null"):
        return DeviceEntry(name, name)
    there = ", ".join(("local", *known))
    todo = f"choose one of: {there}" if path else f"choose one of: {there}; or name a device file: --devices FILE"
    raise UsageError(f"device {name!r}", f"it is not in {path or 'any device file'}", todo)


def open_named(name: str | None, file: Path | None) -> Device | None:
    """The device that the command line names, or None for this machine. Raises: as find_device."""
    return None if name is None else open_device(find_device(name, file))


def device_spec(entry: DeviceEntry) -> dict[str, Any]:
    """An entry as a recipe's bench.device."""
    if entry.transport != "local":
        return {"use": entry.transport, "entry": to_json(entry)} if entry.transport != "null" else {"use": "null"}
    python = {"python": entry.python} if entry.python else {}
    limits = {"rules": to_json(entry.rules), "runtimes": list(entry.runtimes)}
    return {"use": "local", "name": entry.name, **limits, **python}


def facts_file(devices: Path) -> Path:
    """Where the facts of a device file's machines are kept, beside it."""
    return devices.with_suffix(".facts.json")


def load_facts(devices: Path) -> dict[str, DeviceInfo]:
    """What probes found before, by name."""
    path = facts_file(devices)
    rows = records.read(path) if path.exists() else {}
    return {name: from_json(DeviceInfo, row) for name, row in rows.items() if name != "schema"}


def save_facts(devices: Path, info: DeviceInfo) -> None:
    """Keep what a probe found."""
    records.save(facts_file(devices), {**load_facts(devices), info.name: info})


def _entry(name: str, row: Any) -> tuple[DeviceEntry | None, list[str]]:
    where = f"devices.{name}"
    if not isinstance(row, dict):
        return None, [f"{where}: write a mapping (got {row!r})"]
    names = [f"{where}: a name has letters, digits, _ . and -"] if not _NAME.fullmatch(name) else []
    if "name" in row:
        names.append(f"{where}.name: the key is the name; leave it out")
    given, wrong = {**row, "name": name}, []
    try:
        entry = TypeAdapter(DeviceEntry).validate_python(given)
    except ValidationError as error:
        # Without what the types refuse, the rest can be looked at too.
        bad = {str(item["loc"][0]) for item in error.errors()}
        wrong = [_line(where, item) for item in error.errors()]
        entry = TypeAdapter(DeviceEntry).validate_python({key: given[key] for key in given if key not in bad})
    return entry, names + wrong + [f"{where}.{problem}" for problem in _problems(entry)]


def _problems(entry: DeviceEntry) -> Iterator[str]:
    """What the types cannot say."""
    if entry.transport not in DEVICES.names():
        yield f"transport: no such one as {entry.transport!r} (there are: {', '.join(DEVICES.names())})"
    if entry.transport == "ssh" and not entry.address:
        yield "address: needed, a host name or an IP"
    if entry.transport == "qemu":
        yield from _qemu_problems(entry)
    for field_ in ("address", "user", "jump"):
        value = getattr(entry, field_) or ""
        if value.startswith("-") or re.search(r"\s", value):
            yield f"{field_}: {value!r} is none"
    if entry.transport != "ssh":
        yield from (f"{name}: only ssh knows it" for name in _SSH_ONLY if getattr(entry, name) is not None)
    if entry.port is not None and not 0 < entry.port < 65536:
        yield f"port: between 1 and 65535 (got {entry.port})"
    if entry.host_key is not None and not re.fullmatch(r"SHA256:[A-Za-z0-9+/]{43}", entry.host_key):
        yield "host_key: write SHA256:... as `ssh-keygen -lf` prints it"
    if entry.identity is not None and "PRIVATE KEY" in entry.identity:
        yield "identity: a device file holds no secrets; write the path of the key file"
    for runtime in entry.runtimes:
        if runtime not in RUNTIMES.names():
            yield f"runtimes: no such one as {runtime!r} (there are: {', '.join(RUNTIMES.names())})"
    for name in ("connect_timeout_s", "keepalive_s"):
        if not getattr(entry, name) > 0:
            yield f"{name}: above 0 (got {getattr(entry, name)})"
    if entry.rules.cool_down_s < 0:
        yield f"rules.cool_down_s: at least 0 (got {entry.rules.cool_down_s})"
    for runtime, runner in entry.runners.items():
        if runner.use not in RUNNERS.names():
            yield f"runners.{runtime}.use: no such one as {runner.use!r} (there are: {', '.join(RUNNERS.names())})"


def _qemu_problems(entry: DeviceEntry) -> Iterator[str]:
    if not entry.root:
        yield "root: needed, the folder of an arm64 system (docs/devices.md says how to make one)"
    if entry.env != WorkerEnv():
        yield "env: qemu makes none; its packages lie in its root"
    yield from (f"{name}: qemu has none" for name in ("address", "port") if getattr(entry, name))
    if entry.rules != Rules():
        yield "rules: nothing is timed there, so nothing has to hold"
    if entry.runners:
        yield "runners: qemu runs the worker, and no program is timed there"


def _secrets(where: str, row: Any) -> Iterator[str]:
    if isinstance(row, Mapping):
        for key, value in row.items():
            if _SECRET.search(str(key)):
                how = "use ssh's agent, or the path of a key file as identity"
                yield f"{where}.{key}: a device file holds no secrets; {how}"
            else:
                yield from _secrets(f"{where}.{key}", value)


def _line(where: str, item: Mapping[str, Any]) -> str:
    path = ".".join((where, *(str(part) for part in item["loc"])))
    if item["type"] == "unexpected_keyword_argument":
        return f"{path}: no such key (there are: {', '.join(f.name for f in fields(DeviceEntry)[1:])})"
    return f"{path}: {item['msg']}" + ("" if item["type"] == "missing" else f" (got {item['input']!r})")


def _mistakes(path: Path, problems: list[str]) -> UsageError:
    count = f"{len(problems)} mistake{'' if len(problems) == 1 else 's'}"
    return UsageError(f"read device file {path}", f"{count}\n  " + "\n  ".join(problems), "correct each line")
