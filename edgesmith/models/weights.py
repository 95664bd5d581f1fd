"""Weights in and out of files: safetensors, with every key accounted for."""

from __future__ import annotations

import pickle
from collections.abc import Collection, Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from edgesmith import records
from edgesmith.errors import DamagedArtifact, MissingResource, UntrustedFile, UsageError

SHOWN = 5


def read_weights(path: str | Path, trust_pickle: bool = False) -> dict[str, Tensor]:
    """Read a state dict from a .safetensors file; from anything else only with `trust_pickle`, as it may run code.

    Raises: MissingResource, UntrustedFile, DamagedArtifact.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingResource(f"read weights {path}", "no such file", "check the path")
    if path.suffix != ".safetensors":
        return _read_pickle(path, trust_pickle)
    try:
        return safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise DamagedArtifact(f"read weights {path}", str(error), "fetch or make the file again") from error


def _read_pickle(path: Path, trusted: bool) -> dict[str, Tensor]:
    asked = f"read weights {path}"
    if not trusted:
        todo = "convert it to .safetensors, or say trust_pickle (--trust-pickle) if you trust whoever made it"
        raise UntrustedFile(asked, f"a {path.suffix or 'suffixless'} file can run code when loaded", todo)
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=False)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise DamagedArtifact(asked, str(error), "fetch or make the file again") from error
    state = loaded.get("state_dict", loaded.get("model", loaded)) if isinstance(loaded, Mapping) else loaded
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UsageError(asked, f"it holds a {type(loaded).__name__}, not a state dict", "save net.state_dict()")
    return dict(state)


def load_strict(net: nn.Module, state: Mapping[str, Tensor], source: str, optional: Collection[str] = ()) -> None:
    """Copy `state` into `net`: every key used, every key found (but those in `optional`), every shape equal.

    Raises: UsageError listing some of the keys that do not fit.
    """
    own = net.state_dict()
    missing = [key for key in own if key not in state and key not in optional]
    unknown = [key for key in state if key not in own]
    shapes = [
        f"{key} {tuple(state[key].shape)} for {tuple(own[key].shape)}"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    kinds = (("missing", missing), ("unknown", unknown), ("wrong shape", shapes))
    problems = [f"{len(keys)} {kind}: {_some(keys)}" for kind, keys in kinds if keys]
    if problems:
        raise UsageError(f"load weights {source}", "; ".join(problems), "build the net these weights were made for")
    net.load_state_dict(dict(state), strict=False)


def save_weights(path: Path, net: nn.Module) -> None:
    """Write a net's state dict as safetensors, whole or not at all. Raises: MissingResource on a full disk."""
    state = {key: value.detach().cpu().contiguous().clone() for key, value in net.state_dict().items()}
    records.write_bytes(path, safetensors.torch.save(state))


def _some(keys: list[str]) -> str:
    more = f", and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
    return ", ".join(keys[:SHOWN]) + more
