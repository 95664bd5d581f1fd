"""Literal tables "name -> module:attribute": lazy, complete, greppable, open to entry points."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgesmith.errors import MissingPackage, UsageError

# Top-level module of a vendor package -> the extra of edgesmith that installs it.
EXTRA_OF = {
    "torch": "train",
    "torchao": "train",
    "lightning": "train",
    "lightning_fabric": "train",
    "safetensors": "train",
    "sklearn": "train",
    "PIL": "train",
    "onnx": "ort",
    "onnxscript": "ort",
    "onnxruntime": "ort",
    "openvino": "openvino",
    "coremltools": "coreml",
    "executorch": "executorch",
    "coreai": "coreai",
    "coreai_torch": "coreai",
    "tensorrt": "tensorrt",
    "tensorrt_rtx": "tensorrt-rtx",
    "timm": "timm",
    "torchvision": "timm",
    "kornia": "train",
    "tensorboard": "logs",
    "ray": "fleet",
    "jinja2": "kits",
    "cyclonedx": "pack",
    "packageurl": "pack",
    "securesystemslib": "pack",
    "cryptography": "pack",
}


def missing_package(error: ModuleNotFoundError, asked: str) -> MissingPackage:
    """Turn a failed vendor import into the error that says what to install."""
    module = (error.name or str(error)).split(".")[0]
    extra = EXTRA_OF.get(module)
    line = f"pip install 'edgesmith[{extra}]'" if extra else f"install the package that has module {module!r}"
    return MissingPackage(asked, f"no module named {module!r} here", line)


def is_installed(module: str) -> bool:
    """Whether a top-level module can be found, without importing it."""
    return importlib.util.find_spec(module) is not None


@dataclass(frozen=True)
class Plugins:
    """One seam's table; third parties add to it by the entry-point group `edgesmith.<kind>`."""

    kind: str
    table: Mapping[str, str]

    def names(self) -> tuple[str, ...]:
        """All known names, sorted; nothing is imported."""
        return tuple(sorted({*self.table, *self._entry_points()}))

    def get(self, name: str) -> Any:
        """Import and return the plug-in called `name`.

        Raises: UsageError for an unknown name, MissingPackage when its vendor package is absent.
        """
        where = self.table.get(name) or self._entry_points().get(name)
        if where is None:
            raise UsageError(f"{self.kind} {name!r}", "no such name", f"choose one of: {', '.join(self.names())}")
        module, _, attribute = where.partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except ModuleNotFoundError as error:
            if (error.name or "").split(".")[0] == "edgesmith":
                raise
            raise missing_package(error, f"{self.kind} {name!r}") from error

    def _entry_points(self) -> dict[str, str]:
        found = importlib.metadata.entry_points(group=f"edgesmith.{self.kind}")
        return {point.name: point.value for point in found}
