"""The engine: steps with content keys; what is there and whole is skipped, what is half done is done again."""

from __future__ import annotations

import fcntl
import fnmatch
import importlib.metadata
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import edgesmith
from edgesmith.artifact import (
    RECORD,
    Artifact,
    content_key,
    disk_errors_named,
    open_artifact,
    output_folder,
    seal,
    sha256,
)
from edgesmith.compress.ranks import Ranks
from edgesmith.errors import DamagedArtifact, UsageError

ALONE = Ranks()
Say = Callable[[str], None]


@dataclass(frozen=True)
class Step:
    """One step of a run.

    config: everything that decides its result and is not another step. needs: names of the steps it reads.
    sources: patterns of the package's files whose code it runs. work: fills the folder, returns the record's meta.
    keeps: patterns of files that survive in a half-done folder (a checkpoint). together: all processes of torchrun do
    the work, and the first alone fills the folder.
    """

    name: str
    config: Any
    work: Callable[[Path], Mapping[str, Any]]
    needs: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    keeps: tuple[str, ...] = ()
    together: bool = False


@dataclass(frozen=True)
class Done:
    """What became of one step: its folder and record, and whether it was already there."""

    step: str
    artifact: Artifact
    skipped: bool
    seconds: float = 0.0


def step_keys(steps: Sequence[Step]) -> dict[str, str]:
    """The content key of each step: config, keys of inputs, own source files, versions of its packages."""
    keys: dict[str, str] = {}
    for step in steps:
        versions = {name: version_of(name) for name in step.packages}
        keys[step.name] = content_key(step.name, step.config, [keys[n] for n in step.needs], _sources(step), versions)
    return keys


def folder_of(out: Path, name: str, key: str) -> Path:
    """Where a step's result lies: <out>/<step>-<key8>."""
    return out / f"{name}-{key[:8]}"


def execute(steps: Sequence[Step], out: Path, say: Say, among: Ranks = ALONE) -> dict[str, Done]:
    """Do every step that is not there yet, in order. Raises: the step's own error; MissingResource on a full disk.

    Of several processes the first decides what is to do, and has the results; the others have none.
    """
    keys = step_keys(steps)
    among.same(f"run in {among.world} processes", json.dumps(keys))
    done: dict[str, Done] = {}
    if among.rank:
        for step in (step for step in steps if step.together and among.tell(0)):
            step.work(folder_of(out, step.name, keys[step.name]))
        return done
    with _locked(out):
        for step in steps:
            folder = folder_of(out, step.name, keys[step.name])
            made_from = tuple(keys[name] for name in step.needs)
            done[step.name] = _one(step, folder, keys[step.name], made_from, say, among)
    return done


def _one(step: Step, folder: Path, key: str, made_from: tuple[str, ...], say: Say, among: Ranks) -> Done:
    whole = _whole(folder, key, say)
    if step.together:
        among.tell(int(whole is None))
    if whole is not None:
        say(f"{step.name}: already done")
        return Done(step.name, whole, skipped=True)
    started = time.monotonic()
    say(f"{step.name} ...")
    with disk_errors_named(folder):
        _clear(folder, step.keeps)
        meta = step.work(folder)
        artifact = seal(folder, step.name, key, meta, made_from)
    seconds = time.monotonic() - started
    say(f"{step.name}: done in {seconds:.1f} s")
    return Done(step.name, artifact, skipped=False, seconds=seconds)


def _whole(folder: Path, key: str, say: Say) -> Artifact | None:
    if not (folder / RECORD).exists():
        return None
    try:
        artifact = open_artifact(folder)
    except DamagedArtifact as error:
        say(f"{folder.name}: damaged ({error.found}); doing it again")
        (folder / RECORD).unlink()
        return None
    return artifact if artifact.key == key else None


def _clear(folder: Path, keeps: tuple[str, ...]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for item in folder.iterdir():
        if any(fnmatch.fnmatch(item.name, pattern) for pattern in keeps):
            continue
        if item.is_dir() and not item.is_symlink():
            shutil.rmtree(item)
        else:
            item.unlink()


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    with disk_errors_named(out), (output_folder(out) / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            found = "another run is writing there"
            raise UsageError(f"run in {out}", found, "wait for it, or give another --out") from error
        yield


def _sources(step: Step) -> dict[str, str]:
    package = Path(edgesmith.__file__).parent
    files = {file for pattern in step.sources for file in package.glob(pattern)}
    return {str(file.relative_to(package)): sha256(file) for file in sorted(files)}


def version_of(package: str) -> str:
    """The installed version of a package, or "absent"."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "absent"
