"""Core AI: what is here so far finds the library and says why an .aimodel is not run."""

from __future__ import annotations

import importlib
import importlib.metadata
from pathlib import Path

from edgesmith.artifact import Exported
from edgesmith.errors import MissingResource
from edgesmith.plugins import missing_package
from edgesmith.runtimes.session import RunOptions, Session


class CoreAIRuntime:
    """Apple's Core AI, on its systems from 27 on."""

    name = "coreai"

    @staticmethod
    def version() -> str:
        """The version of coreai-core. Raises: MissingPackage."""
        _need_library()
        return importlib.metadata.version("coreai-core")

    @staticmethod
    def open(exported: Exported, options: RunOptions) -> Session:
        """Raises: MissingPackage, MissingResource; running an .aimodel is not there yet."""
        raise _why_not(exported.file)

    @staticmethod
    def describe(file: Path) -> Exported:
        """Raises: MissingPackage, MissingResource; reading an .aimodel is not there yet."""
        raise _why_not(file)

    @staticmethod
    def companions(file: Path) -> tuple[Path, ...]:
        """None: an asset is a folder that holds everything."""
        return ()


def _need_library() -> None:
    try:
        importlib.import_module("coreai")
    except ModuleNotFoundError as error:
        raise missing_package(error, "runtime 'coreai'") from error


def _why_not(file: Path) -> MissingResource:
    _need_library()
    found = "Core AI runs on macOS 27 and later, and edgesmith does not run it yet, so this row is not_measured"
    return MissingResource(f"run {file.name} with coreai", found, "try the asset in an app")
