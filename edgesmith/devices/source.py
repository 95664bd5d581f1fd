"""The part of edgesmith that a device needs: what the worker and its children import, and nothing else."""

from __future__ import annotations

import hashlib
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
_NOT_THERE = ("models", "data", "graph", "compress", "export", "verify", "report", "kits", "pipeline", "cli")
_READS_PROGRAMS = (
    "graph/__init__.py",
    "graph/trust.py",
    "graph/trust_program.py",
)  # torch's runtime checks what it opens
_BUILDS_ENGINES = ("export/__init__.py", "export/engine.py")


def worker_files() -> tuple[tuple[str, Path], ...]:
    """(path below the folder that goes on PYTHONPATH, file here), in order."""
    found = [path for path in PACKAGE.rglob("*.py") if path.relative_to(PACKAGE).parts[0] not in _NOT_THERE]
    found = sorted([*found, *(PACKAGE / name for name in (*_READS_PROGRAMS, *_BUILDS_ENGINES))])
    return tuple((str(path.relative_to(PACKAGE.parent)), path) for path in found)


def worker_digest() -> str:
    """A name for exactly these sources, so that a device keeps one copy a version."""
    digest = hashlib.sha256()
    for name, path in worker_files():
        digest.update(name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]
