"""Take in a model file made by anyone, so that it can be run and measured like one of ours."""

from __future__ import annotations

import shutil
from pathlib import Path

from edgesmith.artifact import Exported, building, load_exported, save_exported
from edgesmith.errors import MissingResource, UsageError
from edgesmith.runtimes import RUNTIMES
from edgesmith.targets import RUNTIME_OF_SUFFIX


def adopt(file: Path, folder: Path) -> Exported:
    """Copy a model and the files that belong to it into `folder`, describe it and seal it.

    Raises: UsageError for an unknown suffix, MissingResource, MissingPackage, EngineFailed.
    """
    runtime_name = RUNTIME_OF_SUFFIX.get(file.suffix.lower())
    if runtime_name is None:
        known = ", ".join(sorted(RUNTIME_OF_SUFFIX))
        raise UsageError(f"open model {file}", f"its suffix is {file.suffix!r}", f"known suffixes: {known}")
    if not file.exists():
        raise MissingResource(f"open model {file}", "no such file", "check the path")
    runtime = RUNTIMES.get(runtime_name)
    companions = runtime.companions(file)
    with building(folder) as temporary:
        _copy(file, temporary / file.name)
        for beside in companions:
            place = temporary / beside.resolve().relative_to(file.parent.resolve())
            place.parent.mkdir(parents=True, exist_ok=True)
            _copy(beside, place)
        save_exported(temporary, runtime.describe(temporary / file.name), None)
    return load_exported(folder, check=False)


def _copy(source: Path, destination: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, destination)
    else:
        shutil.copy2(source, destination)
