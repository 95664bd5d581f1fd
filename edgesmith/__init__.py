"""edgesmith: from a PyTorch teacher to a verified artefact on the device."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

# Public name -> where it lives; loaded on first use, so that `import edgesmith` needs no vendor package.
_PUBLIC = {
    "check": "edgesmith.pipeline.api",
    "convert": "edgesmith.pipeline.api",
    "load": "edgesmith.pipeline.api",
}

__all__ = ["__version__", "check", "convert", "load"]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'edgesmith' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
