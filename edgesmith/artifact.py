"""What a step or an exporter leaves on disk: files, their checksums, and a record written last.

A checksum detects damage, not tampering: whoever can change a file can change its record.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgesmith import records
from edgesmith.errors import DamagedArtifact, EdgesmithError, MissingResource, UsageError
from edgesmith.tensors import Arrays, Preprocessing, TensorSpec

RECORD = "artifact.json"
GOLDEN = "golden.npz"
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)
# What vendors say when a write failed: the system's own words, and PyTorch's zip writer.
_FULL = ("No space left", "File too large", "Disk quota", "failed writing file", "inline_container.cc")


@dataclass(frozen=True)
class Product:
    """A layer that multiplies matrices, as it was exported.

    layer: module path. macs: multiply-accumulates for one sample. precision: what it is to be run in. names: what
    the file calls it, its own names first, then those of what is computed from it alone (a runtime fuses them).
    """

    layer: str
    macs: int
    precision: str
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Engine:
    """A compiled engine and where it can be loaded: by this very version of its library, on these GPUs and this system.

    library: the vendor's module. capabilities: compute capabilities like "8.6" that it was built for. flags: what else
    the builder was told. system: operating system and processor, like "Linux-x86_64".
    """

    file: str
    library: str
    version: str
    capabilities: tuple[str, ...]
    system: str
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Exported:
    """A model in one target's format, with what is needed to run it and to check it.

    layer_names: module path -> tensor name in the file. layer_factors: for those that hold a multiple of the layer's
    value, channel by channel, the factors. layer_copies: other tensors of the same value, where each reader has its
    own. multiples: tensor -> by what the file multiplies its whole value, where that is not 1. products: where its work
    is, for placement. operator_layers: what the file calls an operator or its value -> the module path it was made
    from, for times by layer. golden.npz holds seeded synthetic inputs ("in:<name>") and the reference outputs
    ("out:<name>"). instruction_set: what an int8 plan was made for, "" for float.
    engines: compiled forms of the model, of which a runtime takes one that fits; source: the ONNX file they are built
    from, so that one can be built on a device; fallback: the runtime that opens `source` where none fits, "" for none.
    `root` is where it was loaded from and is not saved.
    """

    target: str
    runtime: str
    precision: str
    main: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    layer_names: Mapping[str, str] = field(default_factory=dict)
    layer_factors: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    layer_copies: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    multiples: Mapping[str, float] = field(default_factory=dict)
    products: tuple[Product, ...] = ()
    operator_layers: Mapping[str, str] = field(default_factory=dict)
    preprocessing: Preprocessing | None = None
    labels: tuple[str, ...] = ()
    plan_digest: str | None = None
    instruction_set: str = ""
    notes: tuple[str, ...] = ()
    engines: tuple[Engine, ...] = ()
    source: str = ""
    fallback: str = ""
    root: Path = field(default=Path(), metadata={"json": False})

    @property
    def file(self) -> Path:
        """The file (or package folder) a runtime opens."""
        return self.root / self.main

    @property
    def size_bytes(self) -> int:
        """Bytes of the model itself: the main file and what it needs beside it, without record and golden data.

        What engines are only built from, and what building them again would need, is not shipped with them.
        """
        spare = {self.source} if self.source != self.main and not self.fallback else set()
        beside = [p for p in _files(self.root) if p.name not in {RECORD, GOLDEN, *spare} and p.suffix != ".cache"]
        return sum(path.stat().st_size for path in beside)

    def golden(self) -> tuple[Arrays, Arrays] | None:
        """Seeded inputs and the outputs the original gave for them, if they were saved."""
        path = self.root / GOLDEN
        if not path.exists():
            return None
        with np.load(path, allow_pickle=False) as file:
            inputs = {key[3:]: file[key] for key in file.files if key.startswith("in:")}
            outputs = {key[4:]: file[key] for key in file.files if key.startswith("out:")}
        return inputs, outputs


@dataclass(frozen=True)
class Artifact:
    """The record of a folder: what it is, its key, what it was made from, and the sha256 of every file."""

    kind: str
    key: str
    made_from: tuple[str, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    root: Path = field(default=Path(), metadata={"json": False})


def engine_system() -> str:
    """Operating system and processor of this machine, as engines are bound to them."""
    return f"{platform.system()}-{platform.machine()}"


def sha256(path: Path) -> str:
    """Hex digest of one file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def content_key(*parts: Any) -> str:
    """A fingerprint of JSON-able parts; the first 8 characters name a step's folder."""
    return hashlib.sha256(json.dumps(records.to_json(parts), sort_keys=True).encode()).hexdigest()


def output_folder(folder: Path) -> Path:
    """Make a folder the user named to write in. Raises: MissingResource where that is not possible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MissingResource(f"write into {folder}", f"{error.strerror}", "name a folder that can be made") from error
    return folder


def check_replaceable(folder: Path) -> None:
    """Refuse to build where something lies that is not an artefact of ours and would be lost. Raises: UsageError."""
    asked, todo = f"write {folder}", "move it away, or name another folder"
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise UsageError(asked, "it is there and is no folder", todo)
    files = _files(folder)
    if not files:
        return
    if folder / RECORD not in files:
        found = f"it holds {files[0].relative_to(folder)} and no {RECORD}: it is no artefact of ours"
        raise UsageError(asked, found, todo)
    try:
        ours = open_artifact(folder, check=False).files
    except DamagedArtifact:
        return  # ours, and spoilt: it is made again
    strange = [name for path in files if (name := str(path.relative_to(folder))) not in ours and name != RECORD]
    if strange:
        raise UsageError(asked, f"it holds {strange[0]}, which its record does not list", todo)


@contextmanager
def building(folder: Path) -> Iterator[Path]:
    """A temporary neighbour to build in; it takes `folder`'s place in one rename when the block ends well.

    Raises: MissingResource when the disk is full or read-only; the older folder is then still there.
    """
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    try:
        with disk_errors_named(folder):
            temporary.mkdir(parents=True)
            yield temporary
            _swap(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def building_file(file: Path) -> Iterator[Path]:
    """A temporary neighbour to write; it becomes `file` in one rename when the block ends well.

    Raises: MissingResource when the disk is full, or the folder is not there or read-only.
    """
    temporary = file.with_name(f".{file.name}.{uuid.uuid4().hex}")
    try:
        with disk_errors_named(file):
            yield temporary
            os.replace(temporary, file)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def disk_errors_named(folder: Path) -> Iterator[None]:
    """Turn a failed write into MissingResource; vendor libraries wrap the system's error in types of their own."""
    try:
        yield
    except EdgesmithError:
        raise
    except Exception as error:
        if getattr(error, "errno", None) not in _NO_ROOM and not any(words in str(error) for words in _FULL):
            raise
        todo = "make room, or name a folder that can be written, and run again; what was there before is intact"
        raise MissingResource(f"write {folder}", f"{error}", todo) from error


def _swap(new: Path, folder: Path) -> None:
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        os.replace(folder, old)
    try:
        os.replace(new, folder)
    except OSError:
        if old.exists():
            os.replace(old, folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def seal(root: Path, kind: str, key: str, meta: Mapping[str, Any], made_from: tuple[str, ...] = ()) -> Artifact:
    """Write the record of a finished folder, last, with the sha256 of every other file."""
    files = {str(path.relative_to(root)): sha256(path) for path in _files(root) if path != root / RECORD}
    artifact = Artifact(kind, key, made_from, records.to_json(meta), files, root)
    records.save(root / RECORD, artifact)
    return artifact


def open_artifact(root: Path, check: bool = True) -> Artifact:
    """Read a folder's record and check every file. Raises: DamagedArtifact naming the file, MissingResource."""
    artifact = records.load(Artifact, root / RECORD)
    if check:
        for name, digest in artifact.files.items():
            path = root / name
            if not path.is_file():
                raise DamagedArtifact(f"open {root}", f"{name} is missing", "make the artefact again")
            if sha256(path) != digest:
                raise DamagedArtifact(f"open {root}", f"{name} does not match its checksum", "make the artefact again")
    return Artifact(artifact.kind, artifact.key, artifact.made_from, artifact.meta, artifact.files, root)


def save_exported(root: Path, exported: Exported, golden: tuple[Arrays, Arrays] | None, key: str = "") -> Exported:
    """Write golden data and the record beside the files an exporter has put in `root`."""
    if golden is not None:
        inputs, outputs = golden
        arrays = {f"in:{k}": v for k, v in inputs.items()} | {f"out:{k}": v for k, v in outputs.items()}
        np.savez(root / GOLDEN, **arrays)  # type: ignore[arg-type]
    meta = records.to_json(exported)
    seal(root, "exported", key or content_key(meta), meta)
    return load_exported(root, check=False)


def load_exported(root: Path, check: bool = True) -> Exported:
    """Read an artefact of one target from its folder. Raises: DamagedArtifact, MissingResource."""
    artifact = open_artifact(root, check)
    if artifact.kind != "exported":
        raise DamagedArtifact(f"open {root} as an exported model", f"it is a {artifact.kind}", "name a target's folder")
    try:
        values = records.from_json(Exported, artifact.meta)
    except DamagedArtifact as error:
        raise DamagedArtifact(f"open {root}", f"{error.asked}: {error.found}", error.todo) from error
    if check:
        _check_main(root, values.main, artifact.files)
    object.__setattr__(values, "root", root)
    return values


def _check_main(root: Path, main: str, files: Mapping[str, str]) -> None:
    """A runtime opens `main`: it must lie inside the folder and be among the files that were checked."""
    inside = not Path(main).is_absolute() and ".." not in Path(main).parts
    if not inside or not any(name == main or name.startswith(f"{main}/") for name in files):
        raise DamagedArtifact(f"open {root}", f"the record lists no checked file {main!r}", "make the artefact again")


def _files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file() and not path.name.startswith("."))
