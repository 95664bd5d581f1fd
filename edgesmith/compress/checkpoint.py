"""The resumable state of a training: one file, written whole, read without unpickling objects.

Where ranks have something of their own (class centres), each writes a share of its own first; the file of rank 0 comes
last and makes them valid.
"""

from __future__ import annotations

import io
import pickle
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

from edgesmith import records
from edgesmith.compress.ranks import Ranks
from edgesmith.errors import DamagedArtifact, UsageError

FORMAT = 2
ALONE = Ranks()
NAME = "last.ckpt"
ADVICE = "delete it to train from the beginning"


@dataclass(frozen=True)
class Checkpoint:
    """State after `epoch` whole epochs; `asked` fingerprints the configuration and the data.

    finished: the task said that it needs no more epochs. average: of the weights, where one is kept.
    """

    epoch: int
    asked: str
    task: dict[str, Any]
    optimizers: list[dict[str, Any]]
    history: list[dict[str, Any]]
    finished: bool = False
    average: dict[str, Any] | None = None


def write_checkpoint(folder: Path, checkpoint: Checkpoint, among: Ranks = ALONE, shares: bool = False) -> None:
    """Replace folder/last.ckpt in one rename; with `shares`, after every other rank has written its own state.

    Raises: MissingResource on a full disk.
    """
    own = folder / share_name(checkpoint.epoch, among.rank)
    if among.rank == 0 or shares:
        folder.mkdir(parents=True, exist_ok=True)
        state = {field.name: getattr(checkpoint, field.name) for field in fields(checkpoint)}
        buffer = io.BytesIO()
        torch.save({"format": FORMAT, **state}, buffer)
        if shares and among.rank:
            records.write_bytes(own, buffer.getvalue())
    among.numbers(0)  # all shares are there
    if among.rank == 0:
        records.write_bytes(folder / NAME, buffer.getvalue())
    among.numbers(0)  # and valid: older ones are not needed any more
    if shares and among.rank:
        for old in set(folder.glob(share_name("*", among.rank))) - {own}:
            old.unlink()


def share_name(epoch: int | str, rank: int | str) -> str:
    """The file of one rank's own state after an epoch."""
    return NAME if not rank else f"last-{epoch}-rank{rank}.ckpt"


def remove_checkpoint(folder: Path) -> None:
    """Delete the checkpoint and all shares of a training that is done."""
    for path in (folder / NAME, *folder.glob(share_name("*", "*"))):
        path.unlink(missing_ok=True)


def read_checkpoint(folder: Path, asked: str, rank: int = 0, shares: bool = False) -> Checkpoint | None:
    """The checkpoint in a folder, or None; with `shares` this rank's own state of that epoch.

    Raises: DamagedArtifact; UsageError when it is of another training.
    """
    found = _read(folder / NAME, asked)
    if found is None or not (shares and rank):
        return found
    path = folder / share_name(found.epoch, rank)
    if (own := _read(path, asked)) is None:
        todo = f"resume with as many processes as before, or {ADVICE}"
        raise DamagedArtifact(f"resume from {path}", "the state of this rank is not there", todo)
    return own


def _read(path: Path, asked: str) -> Checkpoint | None:
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
