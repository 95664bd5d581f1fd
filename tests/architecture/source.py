"""The source tree as the architecture tests see it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import edgesmith

PACKAGE = Path(edgesmith.__file__).parent
ROOT = PACKAGE.parent


def files() -> list[Path]:
    """Every Python file of the package."""
    return sorted(PACKAGE.rglob("*.py"))


def name(file: Path) -> str:
    """Path of a file from the package's folder: "graph/capture.py"."""
    return str(file.relative_to(PACKAGE))


def imports(file: Path) -> Iterator[str]:
    """Dotted names of every import of a file, in-function ones and `from a import b` as a.b too."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
