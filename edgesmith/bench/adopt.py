"""Take in a model file made by anyone, so that it can be run and measured like one of ours."""

from __future__ import annotations

import shutil
from pathlib import Path

from edgesmith.artifact import RECORD, Exported, building, load_exported, save_exported
from edgesmith.errors import MissingResource, UsageError
from edgesmith.runtimes import RUNTIMES
from edgesmith.targets import RUNTIME_OF_SUFFIX


def adopt(file: Path, folder: Path) -> Exported:
    """Copy a model and the files that belong to it into `folder`, describe it and seal it.

    Raises: UsageError for an unknown suffix, MissingResource, MissingPackage, EngineFailed.
    """
    if not file.exists():
        raise MissingResource(f"open model {file}", "no such file", "check the path")
    runtime_name = RUNTIME_OF_SUFFIX.get(file.suffix.lower())
    if runtime_name is None:
        if file.suffix.lower() == ".mlmodel":
            found = "a Core ML neural network of before iOS 15, which is no ML program"
            raise UsageError(f"open model {file}", found, "convert the original anew, to an .mlpackage")
        found = f"a folder without {RECORD}" if file.is_dir() else f"its suffix is {file.suffix!r}"
        todo = f"name the folder of one target, or a model file: {', '.join(sorted(RUNTIME_OF_SUFFIX))}"
        raise UsageError(f"open model {file}", found, todo)
    runtime = RUNTIMES.get(runtime_name)
    companions = runtime.companions(file)
    described = runtime.describe(file)
    with building(folder) as temporary:
        _copy(file, temporary / file.name)
        for beside in companions:
            place = temporary / beside.resolve().relative_to(file.parent.resolve())
            place.parent.mkdir(parents=True, exist_ok=True)
            _copy(beside, place)
        save_exported(temporary, described, None)
    return load_exported(folder, check=False)


def _copy(source: Path, destination: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, destination)
    else:
        shutil.copy2(source, destination)
