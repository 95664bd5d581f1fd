"""The command line of OpenSSH's client for a device, and what its failures mean."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

from edgesmith.devices.entry import DeviceEntry
from edgesmith.errors import ConnectionLost, HostKeyRefused, LoginRefused, MissingResource

_HOST_KEY = Path(__file__).with_name("host_key.py")
NO_SUCH_COMMAND = 127
_SSH_ITSELF = 255  # ssh's own status when it fails; every other one is that of the command there


def ssh_argv(entry: DeviceEntry, command: str) -> list[str]:
    """ssh with every question answered beforehand: keys must be known, nothing is typed, nothing is forwarded."""
    options = [*_options(entry), *_host_key(entry)]
    if entry.jump is not None:
        user, host, port = _jump(entry.jump)
        through = ["ssh", *_options(entry), *_known_hosts(entry), *user, *port, "-W", "[%h]:%p", "--", host]
        options += ["-o", "ProxyCommand=" + shlex.join(through).replace("'[%h]:%p'", "[%h]:%p")]
    if entry.user:
        options += ["-l", entry.user]
    if entry.port:
        options += ["-p", str(entry.port)]
    return ["ssh", *options, "--", entry.address, command]


def _options(entry: DeviceEntry) -> list[str]:
    pairs = {
        "BatchMode": "yes",
        "StrictHostKeyChecking": "yes",
        "UpdateHostKeys": "no",
        "ClearAllForwardings": "yes",
        "ForwardAgent": "no",
        "PermitLocalCommand": "no",
        "RequestTTY": "no",
        "ControlPath": "none",
        "LogLevel": "ERROR",
        "ConnectTimeout": str(max(1, round(entry.connect_timeout_s))),
        "ServerAliveInterval": str(max(1, round(entry.keepalive_s))),
        "ServerAliveCountMax": "3",
    }
    if entry.identity:
        pairs |= {"IdentitiesOnly": "yes", "IdentityFile": _quoted(Path(entry.identity).expanduser())}
    return [word for name, value in pairs.items() for word in ("-o", f"{name}={value}")]


def _known_hosts(entry: DeviceEntry) -> list[str]:
    if entry.known_hosts is None:
        return []
    file = _quoted(Path(entry.known_hosts).expanduser())
    return ["-o", f"UserKnownHostsFile={file}", "-o", "GlobalKnownHostsFile=none"]


def _host_key(entry: DeviceEntry) -> list[str]:
    """A fingerprint alone decides where there is one; otherwise known_hosts."""
    if entry.host_key is None:
        return _known_hosts(entry)
    words = [_quoted(Path(sys.executable)), "-I", _quoted(_HOST_KEY), entry.host_key, "%H", "%t", "%K"]
    files = ["-o", "UserKnownHostsFile=none", "-o", "GlobalKnownHostsFile=none"]
    return [*files, "-o", "KnownHostsCommand=" + " ".join(words)]


def _quoted(path: Path) -> str:
    """A path inside an option of ssh: quoted for blanks, percent signs are not tokens."""
    return '"' + str(path).replace("%", "%%") + '"'


def _jump(jump: str) -> tuple[list[str], str, list[str]]:
    user, _, rest = jump.rpartition("@")
    host, _, port = rest.rpartition(":") if rest.rpartition(":")[2].isdigit() else (rest, "", "")
    return ["-l", user] if user else [], host, ["-p", port] if port else []


def failure(entry: DeviceEntry, status: int | None, said: str, began: bool) -> MissingResource:
    """What it means that the connection ended: began says whether the device had answered before."""
    asked, last = f"reach device {entry.name!r}", " | ".join(said.strip().splitlines()[-3:])
    if re.search(r"host key verification failed|host identification has changed|no .* host key is known", said, re.I):
        todo = "compare the key's fingerprint with the machine's own and write it as host_key, or add it to known_hosts"
        return HostKeyRefused(asked, last, todo)
    if re.search(r"permission denied|too many authentication failures|no such identity", said, re.I):
        return LoginRefused(asked, last, "see user and identity in the device file, and that the agent holds the key")
    if status == NO_SUCH_COMMAND or "not found" in said:
        return MissingResource(asked, f"no python there: {last}", "name its interpreter as python in the device file")
    if not began and status and 0 < status < _SSH_ITSELF:
        found = f"the interpreter {entry.python or 'python3'} there ended with status {status} {last}".strip()
        return MissingResource(asked, found, "name one of Python 3.8 or later as python in the device file")
    if began:
        return ConnectionLost(asked, f"the connection was lost {last}".strip(), "see the cable, then run it again")
    return MissingResource(asked, last or "no answer", "see address, port and jump in the device file")
