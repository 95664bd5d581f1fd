"""The reference of the command line, from the app itself.

python docs/cli_reference.py         # writes docs/cli.md
"""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import typer  # noqa: E402

from edgesmith.cli.app import app  # noqa: E402

HEAD = """# Command line

Written by `python docs/cli_reference.py` from the app; do not edit.

`edgesmith --version` prints the version. Every verb takes `--help`, and `--debug` shows the trace of an error.
`--json` prints one JSON object on stdout; progress and warnings go to stderr.

| exit code | meaning |
| --- | --- |
| 0 | all verdicts pass |
| 1 | one failed, or an artefact is damaged |
| 2 | usage or recipe |
| 3 | something required is absent |
| 4 | a bug of edgesmith |
| 5 | inconclusive or not measured |
| 130 | interrupted |
"""


def page() -> str:
    """The whole page."""
    group: Any = typer.main.get_command(app)
    return "\n".join([HEAD, *(_verb(name, group.commands[name]) for name in group.commands)])


def _verb(name: str, command: Any) -> str:
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    options = [one for one in command.params if one.param_type_name == "option" and one.name != "help"]
    words = " ".join([*map(_placeholder, arguments), *(f"{one.opts[0]} ..." for one in options if one.required)])
    parts = [f"## {name}\n", f"{inspect.cleandoc(command.help or '')}\n"]
    parts.append(f"```text\nedgesmith {name} {words + ' ' if words else ''}[OPTIONS]\n```\n")
    rows = [*((_placeholder(one), one) for one in arguments), *((_names(one), one) for one in options)]
    lines = ["| option | meaning | default |", "| --- | --- | --- |"]
    lines += [f"| `{shown}` | {_cell(one.help or '')} | {_default(one)} |" for shown, one in rows]
    return "\n".join([*parts, *lines, ""])


def _placeholder(argument: Any) -> str:
    shown = argument.name.upper() + ("..." if argument.nargs == -1 else "")
    return shown if argument.required else f"[{shown}]"


def _names(option: Any) -> str:
    return "/".join([*option.opts, *option.secondary_opts])


def _cell(text: str) -> str:
    return re.sub(r" \[default: .*", "", text).replace("|", "\\|").replace("<", "&lt;")


def _default(parameter: Any) -> str:
    if " [default: " in (parameter.help or ""):
        return _cell(parameter.help.split(" [default: ")[1].rstrip("]"))
    if parameter.required:
        return "needed"
    value = parameter.default
    if value is None or value == "" or value == []:
        return ""
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"`{value}`"


if __name__ == "__main__":
    (ROOT / "docs/cli.md").write_text(page(), encoding="utf-8")
