"""edgesmith devices: the machines that can measure."""

from __future__ import annotations

import typer

from edgesmith.cli import output


def command(
    action: str = typer.Argument("list", help="list, or probe NAME"),
    name: str = typer.Argument("local", help="A device of the list"),
    json: bool = typer.Option(False, "--json", help="One JSON object on stdout."),
) -> int:
    """List the transports, or probe one: what machine it is, and whether a file and a command come back."""
    from edgesmith.devices import DEVICES
    from edgesmith.errors import UsageError
    from edgesmith.pipeline.doctor import probe

    if action == "list":
        names = DEVICES.names()
        if json:
            output.print_json({"devices": names})
        else:
            print("\n".join(names))
        return 0
    if action != "probe":
        raise UsageError(
            f"devices {action}", "no such action", "use: edgesmith devices, or edgesmith devices probe NAME"
        )
    facts = probe(name)
    if json:
        output.print_json({"device": name, "facts": facts})
    else:
        output.print_table(("fact", "value"), [(key, str(value)) for key, value in vars(facts).items()])
    return 0
