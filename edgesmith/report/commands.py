"""How the data of a figure are made anew: the command of the run, and the step whose folder holds them."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any


def again(report: Mapping[str, Any], step: str) -> str:
    """One sentence of HTML for the figures that show this step ("bench", "train-student"); "" without a command.

    Steps that are there are skipped, so a figure is made anew by taking away the folder of its step.
    """
    provenance = report["provenance"]
    if not (command := provenance.get("command")):
        return ""
    line = f"Made by <code>{escape(str(command))}</code>"
    key = (provenance.get("steps") or {}).get(step)
    return f"{line}; anew without its folder <code>{escape(f'{step}-{key[:8]}')}</code>." if key else f"{line}."
