"""Loading programs and weights that somebody else made, without running their code.

A .pt2 is rebuilt in memory from the parts that were checked, and torch reads the rebuilt one: every pickle in it was
loaded with weights_only=True and written again here, and two zip readers can not disagree about what is in it.
"""

from __future__ import annotations

import io
import json
import logging
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export.pt2_archive._package import PT2ArchiveWriter

from edgesmith.errors import DamagedArtifact, MissingResource, UntrustedFile, UsageError
from edgesmith.graph.trust_program import checked_config, checked_program

_ADVICE = "say --trust-pickle if you trust who made it; better, ask for a .safetensors file"
_FORMAT = {"archive_format", "archive_version", "byteorder"}
_FOLDERS = ("data/weights/", "data/constants/")
_PROGRAM, _SAMPLES = "models/model.json", "data/sample_inputs/model.pt"
_CONFIGS = {"data/weights/": "model_weights_config.json", "data/constants/": "model_constants_config.json"}
_LOGGERS = ("torch.export", "torch.export.pt2_archive._package", "torch._export.serde.serialize")
_IGNORED = (".data/", "extra/", "version")


def load_program(file: Path, trust_pickle: bool = False) -> torch.export.ExportedProgram:
    """Load a program saved by torch.export.save; unless told to trust it, only after every part was checked.

    Raises: UntrustedFile when a part could run code, DamagedArtifact, MissingResource.
    """
    if not file.is_file():
        raise MissingResource(f"load {file}", "no such file", "check the path")
    content = file.read_bytes() if trust_pickle else _rebuilt(file)
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        return torch.export.load(io.BytesIO(content))
    except Exception as error:  # torch raises whatever its parsers raise
        found = f"torch {torch.__version__} cannot read it ({type(error).__name__}: {error})"
        raise DamagedArtifact(f"load {file}", found, "save it again with this torch") from error
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)


def load_weights(file: Path, trust_pickle: bool = False) -> dict[str, Tensor]:
    """Load a state dict from .safetensors, or from a pickle (.pt, .pth, .bin, .ckpt) that holds tensors only.

    Raises: UntrustedFile for a pickle that needs more than weights_only=True, MissingResource, DamagedArtifact.
    """
    if not file.is_file():
        raise MissingResource(f"load weights {file}", "no such file", "check the path")
    state = _safetensors(file) if file.suffix == ".safetensors" else _pickled(file, trust_pickle)
    for wrapper in ("state_dict", "model"):
        if isinstance(state, Mapping) and isinstance(state.get(wrapper), Mapping):
            state = state[wrapper]
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UsageError(f"load weights {file}", f"it holds a {type(state).__name__}", "give a state dict of tensors")
    return {str(name): value for name, value in state.items()}


def _safetensors(file: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(file)
    except SafetensorError as error:
        raise DamagedArtifact(f"load weights {file}", str(error), "copy or make the file again") from error


def _pickled(file: Path, trust_pickle: bool) -> Any:
    try:
        return torch.load(file, map_location="cpu", weights_only=not trust_pickle)
    except pickle.UnpicklingError as error:
        if trust_pickle:
            raise DamagedArtifact(f"load weights {file}", str(error), "copy or make the file again") from error
        raise UntrustedFile(f"load weights {file}", f"not tensors alone ({_first_line(error)})", _ADVICE) from error
    except (EOFError, RuntimeError) as error:
        raise DamagedArtifact(f"load weights {file}", _first_line(error), "copy or make the file again") from error


def _rebuilt(file: Path) -> bytes:
    members = _members(file)
    _check_layout(members, file)
    buffer = io.BytesIO()
    with PT2ArchiveWriter(buffer) as writer:
        writer.write_bytes(_PROGRAM, checked_program(members[_PROGRAM], str(file)))
        writer.write_bytes(_SAMPLES, _repickled(members[_SAMPLES], _SAMPLES, file))
        for folder in _FOLDERS:
            _copy_payloads(writer, folder, members, file)
    return buffer.getvalue()


def _members(file: Path) -> dict[str, bytes]:
    """Every file in the archive, without the archive's own top folder."""
    try:
        with zipfile.ZipFile(file) as archive:
            _check_entries(archive.infolist(), file)
            return {info.filename.partition("/")[2]: archive.read(info) for info in archive.infolist()}
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise DamagedArtifact(f"load {file}", f"not a .pt2 archive ({error})", "save it again") from error


def _check_entries(entries: list[zipfile.ZipInfo], file: Path) -> None:
    names = [entry.filename for entry in entries]
    if len(set(names)) != len(names):
        raise UntrustedFile(f"load {file}", "two parts have the same name", _ADVICE)
    for entry in entries:
        parts = entry.filename.split("/")
        if "\\" in entry.filename or ".." in parts or parts[0] in ("", "."):
            raise UntrustedFile(f"load {file}", f"part {entry.filename!r} points out of the archive", _ADVICE)
        # torch stores its parts; a compressed one could unpack to any size
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size > file.stat().st_size:
            raise UntrustedFile(f"load {file}", f"part {entry.filename!r} is compressed", _ADVICE)


def _check_layout(members: Mapping[str, bytes], file: Path) -> None:
    wanted = {_PROGRAM, _SAMPLES, *(folder + name for folder, name in _CONFIGS.items())}
    absent = sorted(wanted - set(members))
    if absent:
        raise UntrustedFile(
            f"load {file}", f"not a program as torch 2.9 or later saves it ({absent[0]} is missing)", _ADVICE
        )
    for name in members:
        if name not in wanted | _FORMAT and not name.startswith((*_FOLDERS, *_IGNORED)):
            raise UntrustedFile(f"load {file}", f"part {name!r} is not of a plain program", _ADVICE)


def _copy_payloads(writer: PT2ArchiveWriter, folder: str, members: Mapping[str, bytes], file: Path) -> None:
    """Write the payloads a table names. Only tensors: other constants are pickled objects."""
    table_name = folder + _CONFIGS[folder]
    table = checked_config(members[table_name], str(file))
    writer.write_bytes(table_name, json.dumps(table).encode())
    written: set[str] = set()
    for entry in table["config"].values():
        name = str(entry.get("path_name"))
        if not name.startswith(("weight_", "tensor_")) or folder + name not in members:
            raise UntrustedFile(f"load {file}", f"{folder}{name} is not a tensor", _ADVICE)
        if name not in written:
            content = members[folder + name]
            pickled = bool(entry.get("use_pickle"))
            writer.write_bytes(folder + name, _repickled(content, folder + name, file) if pickled else content)
            written.add(name)


def _repickled(content: bytes, name: str, file: Path) -> bytes:
    """The same values in a pickle of our own; empty content stays empty."""
    if not content:
        return content
    try:
        values = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # a hostile pickle may raise anything
        raise UntrustedFile(f"load {file}", f"{name} is not tensors alone ({_first_line(error)})", _ADVICE) from error
    buffer = io.BytesIO()
    torch.save(values, buffer)
    return buffer.getvalue()


def _first_line(error: Exception) -> str:
    plain = re.sub(r"\x1b\[[0-9;]*m", "", str(error))  # torch colours its warnings
    return f"{type(error).__name__}: {plain.splitlines()[0] if plain else ''}"[:200]
