"""Where the numbers come from: command, recipe, versions, digests."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from edgesmith.report.markup import Part, table, verbatim


def section(report: Mapping[str, Any]) -> Part | None:
    """The command and the recipe as they were, everything else as tables."""
    provenance, parts = report["provenance"], []
    if command := provenance.get("command"):
        parts.append(f"<h3>Command</h3>{verbatim(command, 'Command')}")
    if recipe := provenance.get("recipe"):
        parts.append(f"<h3>Recipe</h3>{verbatim(recipe, 'Recipe')}")
    for key in (k for k in provenance if k not in ("command", "recipe", "date")):
        values = provenance[key]
        if not isinstance(values, Mapping):
            values = {key: values}
        rows = [[escape(str(name)), f"<code>{escape(str(value))}</code>"] for name, value in values.items()]
        parts.append(f"<h3>{escape(key.capitalize())}</h3>{table(('Name', 'Value'), rows, key, 9)}")
    if not parts:
        return None
    return Part("provenance", "Provenance", "".join(parts), "recipe, versions, digests, command", is_open=False)
