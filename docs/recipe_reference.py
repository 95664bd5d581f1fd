"""The reference of recipes, from the types they are read into and the signatures they are checked by.

python docs/recipe_reference.py         # writes docs/recipes.md
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from edgesmith.compress.quantize.corrections import Corrections  # noqa: E402
from edgesmith.compress.settings import FitConfig, Qat  # noqa: E402
from edgesmith.pipeline.options import FILLED_IN, TABLES  # noqa: E402
from edgesmith.pipeline.quantize_section import Quantize  # noqa: E402
from edgesmith.pipeline.recipe import Bench, LatencyGoal, Recipe, Search, Targets, Train  # noqa: E402
from edgesmith.targets import TARGETS  # noqa: E402
from edgesmith.verify.gate import Limits  # noqa: E402
from edgesmith.verify.placement import PlacementLimits  # noqa: E402

# Path in the recipe -> what is read there.
SECTIONS: dict[str, type] = {
    "(the file)": Recipe,
    "train[]": Train,
    "train[].fit, search.fit": FitConfig,
    "train[].qat": Qat,
    "search": Search,
    "search.latency": LatencyGoal,
    "quantize": Quantize,
    "quantize.corrections": Corrections,
    "targets": Targets,
    "bench": Bench,
    "limits": Limits,
    "limits.placement": PlacementLimits,
}
KINDS = {
    "model": "`model` and `train[].model`",
    "dataset": "`data`",
    "method": "`train[].method`",
    "space": "`search.space`",
    "device": "`bench.device`",
}
HEAD = """# Recipes

Written by `python docs/recipe_reference.py` from the types a recipe is read into; do not edit.

A recipe is a YAML file. `extends: FILE` takes another one and puts this file's keys over its own;
`--set key.path=value` changes one key for one run. Mistakes are all told at once, each with its path, before anything
runs; `edgesmith run RECIPE --dry-run` does only that and lists the steps.
"""


def page() -> str:
    """The whole page."""
    parts = [HEAD, *(_section(path, made) for path, made in SECTIONS.items()), _targets()]
    return "\n".join([*parts, *(_kind(kind, where) for kind, where in KINDS.items())])


def _section(path: str, made: type) -> str:
    hints = typing.get_type_hints(made, include_extras=True)
    rows = (
        (f"`{field.name}`", _type(hints[field.name]), _default(_of_field(field)))
        for field in dataclasses.fields(made)
        if field.init
    )
    title = "The file" if made is Recipe else path
    return f"## {title}\n\n{_text(made)}\n\n{_table(('key', 'type', 'default'), rows)}"


def _of_field(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default


def _targets() -> str:
    rows = ((f"`{row.name}`", row.exporter, row.runtime, row.precision) for row in TARGETS.values())
    return f"## Names of targets\n\n{_table(('target', 'exporter', 'runtime', 'precision'), rows)}"


def _kind(kind: str, where: str) -> str:
    table = TABLES[kind]
    parts = [f"## use: {kind}\n\nWhat {where} may name: `{{use: NAME, option: value}}`.\n"]
    if kind == "model":
        parts.append("`use: package.module:factory` names code of your own, which needs `--allow-import`.\n")
    return "\n".join([*parts, *(_plugin(name, table.get(name)) for name in table.table)])


def _plugin(name: str, factory: Callable[..., Any]) -> str:
    hints = typing.get_type_hints(factory.__init__ if inspect.isclass(factory) else factory, include_extras=True)
    parameters = [p for p in inspect.signature(factory).parameters.values() if p.name not in FILLED_IN]
    named = [p for p in parameters if p.kind is not inspect.Parameter.VAR_KEYWORD]
    rows = [(f"`{p.name}`", _type(hints.get(p.name, Any)), _default(p.default)) for p in named]
    table = _table(("option", "type", "default"), rows) if rows else "It has no options.\n"
    return f"### {name}\n\n{_text(factory)}\n\n{table}"


def _text(thing: Any) -> str:
    """The docstring, its paragraphs kept."""
    return inspect.getdoc(thing) or ""


def _table(head: tuple[str, ...], rows: typing.Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def _default(value: Any) -> str:
    if value is inspect.Parameter.empty:
        return "needed"
    if dataclasses.is_dataclass(value):
        return "see below" if type(value) in SECTIONS.values() else "its defaults"
    if value == sys.executable:
        return "the Python that runs this"
    return f"`{_plain(value)}`"


def _plain(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "none", True: "true", False: "false"}[value]
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_plain(one)}" for key, one in value.items()) + "}"
    if isinstance(value, (tuple, list, set, frozenset)):
        return "[" + ", ".join(_plain(one) for one in value) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value) or '""'


def _type(hint: Any) -> str:
    """A type as a writer of YAML thinks of it."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return " ".join([_type(arguments[0]), *_bounds(arguments[1:])])
    if origin is typing.Literal:
        single = [one for one in arguments if "+" not in str(one)]
        return ", ".join(f"`{one}`" for one in single) + (", joined by +" if len(single) < len(arguments) else "")
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(_type(one) for one in arguments))
    if origin is tuple and len(arguments) == 2 and arguments[1] is ...:
        return f"list of {_type(arguments[0])}"
    if origin is tuple:
        return "[" + ", ".join(_type(one) for one in arguments) + "]"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return "mapping"
    if isinstance(origin, type) and arguments:
        return f"list of {_type(arguments[0])}"
    names = {type(None): "none", str: "text", float: "number", int: "whole number", bool: "true or false", Any: "any"}
    return names.get(hint, "mapping" if dataclasses.is_dataclass(hint) else getattr(hint, "__name__", str(hint)))


def _bounds(metadata: tuple[Any, ...]) -> Iterator[str]:
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    for one in metadata:
        for part in getattr(one, "metadata", [one]):
            for name, sign in signs.items():
                if (bound := getattr(part, name, None)) is not None:
                    yield f"{sign} {bound:g}"


if __name__ == "__main__":
    (ROOT / "docs/recipes.md").write_text(page(), encoding="utf-8")
