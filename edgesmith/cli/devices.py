"""edgesmith devices: the machines that can measure."""

from __future__ import annotations

from pathlib import Path

import typer

from edgesmith.cli import model_options as m
from edgesmith.cli import output


def command(
    action: str = typer.Argument("list", help="list, or probe NAME"),
    name: str = typer.Argument("local", help="A device of the list"),
    devices: m.Devices = None,
    json: m.Json = False,
) -> int:
    """List the devices of a device file, or probe one: what machine it is, and whether a file and a command come back.

    What a probe finds is kept beside the device file.
    """
    from edgesmith.errors import UsageError

    if action == "list":
        return _list(devices, json)
    if action != "probe":
        raise UsageError(
            f"devices {action}", "no such action", "use: edgesmith devices, or edgesmith devices probe NAME"
        )
    from edgesmith.pipeline.device_file import DEFAULT, find_device, save_facts
    from edgesmith.pipeline.doctor import probe

    facts = probe(find_device(name, devices))
    if devices or DEFAULT.exists():
        save_facts(devices or DEFAULT, facts)
    if json:
        output.print_json({"device": name, "facts": facts})
    else:
        output.print_table(("fact", "value"), [(key, str(value)) for key, value in vars(facts).items()])
    return 0


def _list(file: Path | None, json: bool) -> int:
    from edgesmith.devices.entry import DeviceEntry
    from edgesmith.pipeline.device_file import DEFAULT, load_facts, read_devices

    path = file or (DEFAULT if DEFAULT.exists() else None)
    entries = {"local": DeviceEntry("local"), **(read_devices(path) if path else {})}
    facts = load_facts(path) if path else {}
    if json:
        output.print_json({"devices": list(entries.values()), "facts": facts})
        return 0
    rows = [(e.name, e.transport, e.address, facts[n].cpu if n in facts else "") for n, e in entries.items()]
    output.print_table(("device", "transport", "address", "cpu, as last probed"), rows)
    return 0
