"""Read an .mlpackage: its manifest, its specification and where its weights lie."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from google.protobuf.message import DecodeError

from edgesmith.errors import DamagedArtifact, MissingResource, UsageError
from edgesmith.runtimes.coreml_vendor import coremltools
from edgesmith.runtimes.mil.blob import WeightFile

_PLACE = "@model_path/"
_AGAIN = "copy the whole package again"


@dataclass(frozen=True)
class Package:
    """A specification (a Model message of coremltools) and the folder its weight files are named from."""

    spec: Any
    folder: Path

    def weights(self, name: str) -> WeightFile:
        """The weight file that a value names. Raises: DamagedArtifact when it lies elsewhere or is not there."""
        return _open(self.folder, name)


@functools.lru_cache(maxsize=8)
def _open_once(path: Path, stamp: tuple[int, int]) -> WeightFile:
    return WeightFile(path)


def _open(folder: Path, name: str) -> WeightFile:
    path = _inside(folder, name.removeprefix(_PLACE), "a weight file")
    if not path.is_file():
        raise DamagedArtifact(f"open {name}", "no such weight file", _AGAIN)
    facts = path.stat()
    return _open_once(path, (facts.st_mtime_ns, facts.st_size))


def read_package(path: Path) -> Package:
    """Read a package or a single specification file.

    Raises: MissingResource, DamagedArtifact, UsageError for a model that is no program (.mlmodel of before iOS 15).
    """
    if not path.exists():
        raise MissingResource(f"open {path}", "no such file", "check the path")
    file = _root_of(path) if path.is_dir() else path
    spec = coremltools.proto.Model_pb2.Model()
    try:
        spec.ParseFromString(file.read_bytes())
    except (DecodeError, OSError) as error:
        raise DamagedArtifact(f"read {file.name} of {path.name}", f"{error}", _AGAIN) from error
    kind = spec.WhichOneof("Type")
    if kind != "mlProgram":
        todo = "convert the model again with convert_to='mlprogram' and minimum_deployment_target iOS15 or later"
        raise UsageError(f"run {path.name}", f"it is a {kind or 'file of no model'}, not an ML Program", todo)
    return Package(spec, file.parent)


def _root_of(path: Path) -> Path:
    """The specification that the manifest names."""
    manifest = path / "Manifest.json"
    try:
        content = json.loads(manifest.read_text())
        place = content["itemInfoEntries"][content["rootModelIdentifier"]]["path"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        found = f"{type(error).__name__}: {error}"
        raise DamagedArtifact(f"read the manifest of {path.name}", found, _AGAIN) from error
    file = _inside(path / "Data", place, "the specification")
    if not file.is_file():
        raise DamagedArtifact(f"open {path.name}", f"the manifest names {place}, which is not there", _AGAIN)
    return file


def _inside(folder: Path, place: Any, what: str) -> Path:
    """folder / place, which must not lead out of it, by dots or by a link."""
    parts = PurePosixPath(place).parts if isinstance(place, str) and "\0" not in place else ()
    path = folder.joinpath(*parts) if parts else folder
    if not parts or ".." in parts or PurePosixPath(place).is_absolute() or "\\" in place:
        raise DamagedArtifact(f"find {what}", f"it is said to be at {place!r}", "do not trust this package")
    if not path.resolve().is_relative_to(folder.resolve()):
        raise DamagedArtifact(f"find {what}", f"{place!r} leads out of the package", "do not trust this package")
    return path
