"""Frozen dataclasses to and from JSON, with a schema number; files written whole or not at all."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
import math
import os
import types
import typing
import uuid
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from edgesmith.errors import DamagedArtifact, MissingResource

SCHEMA = 1
T = TypeVar("T")


def to_json(value: Any) -> Any:
    """Turn a record into JSON types; NaN and infinity become null, arrays become lists.

    Tables of whole numbers (histograms) are packed: as lists they would be most of a file.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [f for f in dataclasses.fields(value) if f.metadata.get("json", True)]
        return {f.name: to_json(getattr(value, f.name)) for f in fields}
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [to_json(item) for item in value]
    if isinstance(value, np.ndarray):
        return _packed(value) if value.ndim == 2 and value.dtype.kind in "iu" else to_json(value.tolist())
    if isinstance(value, np.generic):
        return to_json(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Path):
        return str(value)
    return value


def from_json(kind: type[T], data: Any) -> T:
    """Build a record of type `kind` from JSON types. Raises: DamagedArtifact on a missing or unknown field."""
    if not isinstance(data, Mapping):
        raise DamagedArtifact(f"read {kind.__name__}", f"it is a {type(data).__name__}", "make the file again")
    hints = typing.get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = set(data) - set(fields) - {"schema"}
    if unknown:
        raise DamagedArtifact(f"read {kind.__name__}", f"unknown fields {sorted(unknown)}", "update edgesmith")
    try:
        return kind(**{name: _decode(hints[name], data[name]) for name in fields if name in data})
    except (TypeError, ValueError, AttributeError) as error:
        raise DamagedArtifact(f"read {kind.__name__}", str(error), "make the file again") from error


def _decode(hint: Any, value: Any) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _decode_union(args, value)
    if value is None or hint is Any:
        return float("nan") if value is None and hint is float else value
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return from_json(hint, value)
    if hint is np.ndarray and isinstance(value, Mapping):
        return _unpacked(value)
    if hint is np.ndarray:
        array = np.asarray(value)
        return array.astype(np.float64) if array.dtype == object else array  # null was NaN
    if hint is Path:
        return Path(value)
    if origin is tuple:
        inner = args if args and args[-1] is not Ellipsis else (args[0],) * len(value)
        if len(inner) != len(value):
            raise ValueError(f"{len(value)} items where {len(inner)} belong")
        return tuple(_decode(item_hint, item) for item_hint, item in zip(inner, value))
    if origin in (list,):
        return [_decode(args[0], item) for item in value]
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {key: _decode(args[1], item) for key, item in value.items()}
    return float(value) if hint is float else value


def _packed(table: np.ndarray) -> dict[str, Any]:
    """A table of whole numbers as compressed bytes in base64, with the smallest type that holds them."""
    small = table.astype(np.min_scalar_type(table.max(initial=0)) if table.min(initial=0) >= 0 else np.int64)
    little = small.astype(small.dtype.newbyteorder("<"))
    data = base64.b64encode(zlib.compress(little.tobytes(), 1)).decode()
    return {"packed": data, "dtype": small.dtype.name, "shape": list(table.shape)}


def _unpacked(value: Mapping[str, Any]) -> np.ndarray:
    try:
        data = zlib.decompress(base64.b64decode(value["packed"], validate=True))
        kind = np.dtype(value["dtype"])
        return np.frombuffer(data, kind.newbyteorder("<")).astype(kind).reshape(value["shape"])
    except (KeyError, zlib.error) as error:
        raise ValueError(f"a packed table that cannot be read ({error})") from error


def _decode_union(args: tuple[Any, ...], value: Any) -> Any:
    if value is None and type(None) in args:
        return None
    records = [hint for hint in args if dataclasses.is_dataclass(hint)]
    if records and isinstance(value, dict):
        fits = [r for r in records if set(value) == {f.name for f in dataclasses.fields(r)}]  # type: ignore[arg-type]
        return from_json((fits or records)[0], value)  # type: ignore[arg-type]
    others = [hint for hint in args if hint is not type(None)]
    return _decode(others[0], value) if len(others) == 1 else value


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file by a temporary neighbour and an atomic rename, so that a full disk loses nothing."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")  # not mkstemp: the user's umask must hold
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        todo = "make room, or a folder that can be written; an older file is intact"
        raise MissingResource(f"write {path}", f"{error.strerror}", todo) from error
    finally:
        with contextlib.suppress(OSError):  # it is gone after the rename, or never was there
            temporary.unlink()


def as_bytes(record: Any) -> bytes:
    """A record (or plain JSON types) as the text of a JSON file, with the schema number."""
    data = to_json(record)
    if isinstance(data, dict):
        data = {"schema": SCHEMA, **data}
    return (json.dumps(data, indent=1, allow_nan=False) + "\n").encode()


def save(path: Path, record: Any) -> None:
    """Write a record (or plain JSON types) as a JSON file, atomically, with the schema number."""
    write_bytes(path, as_bytes(record))


def load(kind: type[T], path: Path) -> T:
    """Read a record from a JSON file. Raises: DamagedArtifact, MissingResource."""
    data = read(path)
    try:
        return from_json(kind, data)
    except DamagedArtifact as error:
        raise DamagedArtifact(f"read {path}", f"{error.asked}: {error.found}", error.todo) from error


def read(path: Path) -> dict[str, Any]:
    """Read a JSON object from a file and check its schema number."""
    try:
        data = json.loads(path.read_text())
    except OSError as error:
        found = "no such file" if isinstance(error, FileNotFoundError) else f"{error.strerror}"
        raise MissingResource(f"read {path}", found, "check the path") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DamagedArtifact(f"read {path}", f"not JSON ({error})", "make it again") from error
    if not isinstance(data, dict) or data.get("schema", SCHEMA) not in range(1, SCHEMA + 1):
        raise DamagedArtifact(f"read {path}", "not a record of a known schema", "update edgesmith, or make it again")
    return data
