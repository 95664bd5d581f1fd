"""Which versions of an operation coremltools has: what the tests of operations run over."""

from __future__ import annotations

from typing import Any

from coremltools.converters.mil.mil import ops  # noqa: F401  fills the registry
from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry

from tests.runtimes.mil.programs import TARGETS

# Made and used inside the converter; none can stand in a file.
NOT_IN_FILES = {"_const_symbolic"}
_NAMES = {target: name for name, target in TARGETS.items()}


def classes(name: str) -> dict[str, Any]:
    """Opset -> the class that defines the operation there, where it differs from the one before."""
    found: dict[str, Any] = {}
    for target, defined in SSAOpRegistry.core_ops[name].items():
        if target in _NAMES and defined not in found.values():
            found[_NAMES[target]] = defined
    return found


def versions(name: str) -> tuple[str, ...]:
    """The opsets that brought a version of the operation."""
    return tuple(classes(name))


def each_version(*names: str) -> list[tuple[str, str]]:
    """(operation, opset) for every version of these operations."""
    return [(name, opset) for name in names for opset in versions(name)]


def core() -> tuple[str, ...]:
    """Every core operation."""
    return tuple(sorted(SSAOpRegistry.core_ops))


def present(opset: str) -> set[str]:
    """The core operations of one opset."""
    return {name for name in SSAOpRegistry.core_ops if TARGETS[opset] in SSAOpRegistry.core_ops[name]}
