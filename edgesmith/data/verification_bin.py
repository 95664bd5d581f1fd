"""InsightFace's .bin files of verification pairs (lfw.bin, cfp_fp.bin, agedb_30.bin): pickles, read without trust.

A pickle is a small program. Before it is run, every step of it is looked at: only those that make byte strings, lists,
tuples and booleans may occur, so no code can be called whatever the file says.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from edgesmith.errors import DamagedArtifact, MissingResource, UntrustedFile

CONTENT = {"SHORT_BINSTRING", "BINSTRING", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "NEWTRUE", "NEWFALSE"}
CONTAINERS = {"EMPTY_LIST", "LIST", "APPEND", "APPENDS", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "MARK"}
MEMORY = {"BINPUT", "LONG_BINPUT", "MEMOIZE", "BINGET", "LONG_BINGET"}
ALLOWED = CONTENT | CONTAINERS | MEMORY | {"PROTO", "FRAME", "STOP"}


@dataclass(frozen=True)
class PairBin:
    """Pair i is made of pictures 2i and 2i + 1 (file contents); same: whether it shows one person (P,)."""

    pictures: tuple[bytes, ...]
    same: np.ndarray


def read_bin(path: Path) -> PairBin:
    """Read a .bin file of pairs.

    Raises: MissingResource, UntrustedFile for anything but byte strings, lists and booleans, DamagedArtifact.
    """
    if not path.is_file():
        raise MissingResource(f"read pairs {path}", "no such file", "check the path")
    content = path.read_bytes()
    _check_steps(content, path)
    try:
        made = _Restricted(io.BytesIO(content), encoding="bytes").load()
    # What pickle is known to raise on a broken program, once nothing in it can call code.
    except (pickle.UnpicklingError, EOFError, ValueError, IndexError, KeyError, AttributeError, TypeError) as error:
        raise _damaged(path, str(error)) from error
    return _checked(made, path)


class _Restricted(pickle.Unpickler):
    """A second lock behind _check_steps: no name is ever looked up."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise UntrustedFile("read pairs", f"it asks for {module}.{name}", "do not load it")

    def persistent_load(self, pid: Any) -> NoReturn:
        raise UntrustedFile("read pairs", f"it asks for object {pid}", "do not load it")


def _check_steps(content: bytes, path: Path) -> None:
    count = 0
    try:
        for count, (step, argument, _) in enumerate(pickletools.genops(content), 1):
            if step.name not in ALLOWED:
                found = f"a pickle with {step.name}" + (f" {argument}" if isinstance(argument, str) else "")
                todo = "such a file could run code; make it again from byte strings, lists and booleans"
                raise UntrustedFile(f"read pairs {path}", found, todo)
            # Slots of the pickle's memory are allocated up to the highest number named.
            if step.name in MEMORY and isinstance(argument, int) and argument > count:
                raise _damaged(path, f"step {count} names slot {argument}")
    except (ValueError, UnicodeDecodeError) as error:
        raise _damaged(path, f"not a pickle ({error})") from error


def _checked(made: object, path: Path) -> PairBin:
    if not isinstance(made, (list, tuple)) or len(made) != 2 or not all(isinstance(part, list) for part in made):
        raise _damaged(path, "not a pair of lists")
    pictures, same = made
    if not all(isinstance(item, bytes) for item in pictures) or not all(isinstance(item, bool) for item in same):
        raise _damaged(path, "not a list of byte strings and a list of booleans")
    if len(pictures) != 2 * len(same) or not same:
        raise _damaged(path, f"{len(pictures)} pictures for {len(same)} pairs")
    return PairBin(tuple(pictures), np.array(same, bool))


def _damaged(path: Path, found: str) -> DamagedArtifact:
    return DamagedArtifact(f"read pairs {path}", found, "fetch it again")
