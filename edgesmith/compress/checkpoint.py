"""The resumable state of a training: one file, written whole, read without unpickling objects."""

from __future__ import annotations

import io
import pickle
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

from edgesmith import records
from edgesmith.errors import DamagedArtifact, UsageError

FORMAT = 2
NAME = "last.ckpt"
ADVICE = "delete it to train from the beginning"


@dataclass(frozen=True)
class Checkpoint:
    """State after `epoch` whole epochs; `asked` fingerprints the configuration and the data.

    finished: the task said that it needs no more epochs.
    """

    epoch: int
    asked: str
    task: dict[str, Any]
    optimizers: list[dict[str, Any]]
    history: list[dict[str, Any]]
    finished: bool = False


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Replace folder/last.ckpt in one rename. Raises: MissingResource on a full disk."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {field.name: getattr(checkpoint, field.name) for field in fields(checkpoint)}
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **state}, buffer)
    records.write_bytes(folder / NAME, buffer.getvalue())


def read_checkpoint(folder: Path, asked: str) -> Checkpoint | None:
    """The checkpoint in a folder, or None. Raises: DamagedArtifact; UsageError when it is of another training."""
    path = folder / NAME
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if state.pop("format") != FORMAT:
            raise DamagedArtifact(f"resume from {path}", "another version of edgesmith wrote it", ADVICE)
        checkpoint = Checkpoint(**state)
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError, KeyError, TypeError, AttributeError) as error:
        raise DamagedArtifact(f"resume from {path}", f"it does not load ({error})", ADVICE) from error
    if checkpoint.asked != asked:
        raise UsageError(
            f"resume from {path}", "it is of a training with other settings or data", f"use another folder or {ADVICE}"
        )
    return checkpoint
