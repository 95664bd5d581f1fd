"""Check the options of a plug-in against the signature of its factory, before anything runs."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from edgesmith.compress import METHODS
from edgesmith.compress.asap import SPACES
from edgesmith.data import DATASETS
from edgesmith.devices import DEVICES
from edgesmith.models import MODELS
from edgesmith.plugins import Plugins, missing_package

TABLES: dict[str, Plugins] = {
    "model": MODELS,
    "dataset": DATASETS,
    "method": METHODS,
    "device": DEVICES,
    "space": SPACES,
}
# Arguments the pipeline fills in; a recipe cannot set them (only its reader may trust a pickle).
FILLED_IN = {"parts", "preprocessing", "trust_pickle"}


def spec_problems(kind: str, spec: Any, path: str) -> list[str]:
    """Mistakes of one {use: NAME, option: value} mapping, each with its path."""
    if spec is None:
        return []  # the missing field itself is reported by the types
    if not isinstance(spec, dict):
        return [f"{path}: write {{use: NAME, ...}} (got {spec!r})"]
    table, name = TABLES[kind], spec.get("use")
    if name is None:
        return [f"{path}.use: which {kind}? one of: {', '.join(table.names())}"]
    if kind == "model" and ":" in str(name):
        return []  # package.module:factory is code of the user; its own call checks its options
    if name not in table.names():
        return [f"{path}.use: no {kind} is called {name!r} (there are: {', '.join(table.names())})"]
    options = {key: value for key, value in spec.items() if key != "use"}
    return _bind(path, options, table.get(str(name)))


def takes(kind: str, spec: Mapping[str, Any], option: str) -> bool:
    """Whether the plug-in a spec names has an option; what is no plug-in is reported elsewhere."""
    table, name = TABLES[kind], str(spec.get("use"))
    return name not in table.names() or option in inspect.signature(table.get(name)).parameters


def option_problems(path: str, options: Any, where: str) -> list[str]:
    """Mistakes of a plain mapping of options for the callable at module:attribute."""
    if not isinstance(options, dict):
        return [f"{path}: write a mapping (got {options!r})"]
    module, _, attribute = where.partition(":")
    try:
        factory = getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        raise missing_package(error, f"options of {path}") from error
    return _bind(path, options, factory)


def _bind(path: str, options: Mapping[str, Any], factory: Callable[..., Any]) -> list[str]:
    parameters = inspect.signature(factory).parameters
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        return []
    target = factory.__init__ if inspect.isclass(factory) else factory
    hints = typing.get_type_hints(target)
    free = {name: p for name, p in parameters.items() if name not in FILLED_IN}
    problems = []
    for name, value in options.items():
        if name not in free:
            problems.append(f"{path}.{name}: no such option (there are: {', '.join(free)})")
        elif name in hints:
            problems += _type_problems(f"{path}.{name}", value, hints[name])
    missing = [name for name, p in free.items() if p.default is inspect.Parameter.empty and name not in options]
    return problems + [f"{path}.{name}: needed" for name in missing]


def _type_problems(path: str, value: Any, hint: Any) -> list[str]:
    try:
        _adapter(hint).validate_python(value)
    except ValidationError as error:
        return [f"{path}: {error.errors()[0]['msg']} (got {value!r})"]
    return []


def _adapter(hint: Any) -> TypeAdapter[Any]:
    if dataclasses.is_dataclass(hint):
        return TypeAdapter(hint)
    return TypeAdapter(hint, config={"arbitrary_types_allowed": True})  # arrays given from Python


def call(kind: str, spec: Mapping[str, Any], **ours: Any) -> Any:
    """Call the plug-in a spec names, with values converted to the types its signature asks for."""
    factory = TABLES[kind].get(str(spec["use"]))
    return invoke(factory, {key: value for key, value in spec.items() if key != "use"}, **ours)


def invoke(factory: Callable[..., Any], options: Mapping[str, Any], **ours: Any) -> Any:
    """Call a factory with a recipe's options, converted to the types of its signature, and our own arguments."""
    target = factory.__init__ if inspect.isclass(factory) else factory
    hints = typing.get_type_hints(target)
    typed = {k: _adapter(hints[k]).validate_python(v) if k in hints else v for k, v in options.items()}
    return factory(**typed, **ours)
