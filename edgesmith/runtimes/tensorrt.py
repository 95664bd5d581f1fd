"""TensorRT and TensorRT-RTX: what is here so far finds the library and says why an engine is not run."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from edgesmith.artifact import Exported
from edgesmith.errors import MissingPackage, MissingResource, UsageError
from edgesmith.plugins import missing_package
from edgesmith.runtimes.session import RunOptions, Session

_GPUS = Path("/proc/driver/nvidia/gpus")
_JETSON = Path("/proc/device-tree/compatible")


class TensorRTRuntime:
    """NVIDIA TensorRT."""

    name = "tensorrt"

    @staticmethod
    def version() -> str:
        """The version of tensorrt. Raises: MissingPackage."""
        return str(_library("tensorrt").__version__)

    @staticmethod
    def open(exported: Exported, options: RunOptions) -> Session:
        """Raises: MissingPackage, MissingResource; running engines is not there yet."""
        raise _why_not("tensorrt", exported.file)

    @staticmethod
    def describe(file: Path) -> Exported:
        """Raises: MissingPackage, MissingResource; reading engines is not there yet."""
        raise _why_not("tensorrt", file)

    @staticmethod
    def companions(file: Path) -> tuple[Path, ...]:
        """None: an engine is one file."""
        return ()


class TensorRTRtxRuntime:
    """NVIDIA TensorRT-RTX."""

    name = "tensorrt-rtx"

    @staticmethod
    def version() -> str:
        """The version of tensorrt_rtx. Raises: MissingPackage."""
        return str(_library("tensorrt_rtx").__version__)

    @staticmethod
    def open(exported: Exported, options: RunOptions) -> Session:
        """Raises: MissingPackage, MissingResource; running engines is not there yet."""
        raise _why_not("tensorrt_rtx", exported.file)

    @staticmethod
    def describe(file: Path) -> Exported:
        """Raises: MissingPackage, MissingResource; reading engines is not there yet."""
        raise _why_not("tensorrt_rtx", file)

    @staticmethod
    def companions(file: Path) -> tuple[Path, ...]:
        """None: an engine is one file."""
        return ()


def _library(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise missing_package(error, f"runtime {module.replace('_', '-')!r}") from error
    except ImportError as error:  # the Python bindings without NVIDIA's shared libraries
        raise MissingPackage(
            f"import {module}", str(error), "install NVIDIA's libraries of the same version"
        ) from error


def _why_not(module: str, file: Path) -> MissingResource | UsageError:
    _library(module)
    jetson = _JETSON.exists() and b"tegra" in _JETSON.read_bytes()
    if not jetson and not (_GPUS.is_dir() and any(_GPUS.iterdir())):
        return MissingResource(f"run {file.name} with {module}", "no NVIDIA GPU here", "run it where there is one")
    return UsageError(
        f"run {file.name} with {module}", "running engines is not there yet in edgesmith", "use trtexec for now"
    )
