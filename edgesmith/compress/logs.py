"""Logs of a training, written after every epoch: a table that any program reads, or TensorBoard."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from edgesmith import records
from edgesmith.plugins import missing_package

Log = Literal["csv", "tensorboard", "none"]
TABLE = "log.csv"
EVENTS = "tensorboard"


class Logger(Protocol):
    """Takes the epochs one after the other."""

    def add(self, epoch: Mapping[str, Any]) -> None: ...

    def close(self) -> None: ...


def flat(epoch: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of an epoch, those of its terms among the others."""
    rows = {**epoch, **epoch.get("terms", {})}
    return {name: value for name, value in rows.items() if isinstance(value, (int, float))}


class Table:
    """One line an epoch. The file is written whole each time, so that an interruption leaves no half line."""

    def __init__(self, folder: Path) -> None:
        self.path, self.rows = folder / TABLE, list[dict[str, float]]()

    def add(self, epoch: Mapping[str, Any]) -> None:
        """Append an epoch; a term that first comes up later gets a column of its own. Raises: MissingResource."""
        self.rows.append(flat(epoch))
        columns = list(dict.fromkeys(name for row in self.rows for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, restval="")
        writer.writeheader()
        writer.writerows(self.rows)
        records.write_bytes(self.path, text.getvalue().encode())

    def close(self) -> None:
        """Nothing is open."""


class TensorBoard:
    """Curves for `tensorboard --logdir`. Raises: MissingPackage."""

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ModuleNotFoundError as error:
            raise missing_package(error, "log: tensorboard") from error
        shutil.rmtree(folder / EVENTS, ignore_errors=True)  # epochs before an interruption are written again
        self.writer = SummaryWriter(str(folder / EVENTS))

    def add(self, epoch: Mapping[str, Any]) -> None:
        """One point a curve."""
        for name, value in flat(epoch).items():
            if name != "epoch":
                self.writer.add_scalar(name, value, int(epoch["epoch"]))
        self.writer.flush()

    def close(self) -> None:
        """Close the file of events."""
        self.writer.close()


class Nothing:
    """No log."""

    def add(self, epoch: Mapping[str, Any]) -> None:
        """Keep nothing."""

    def close(self) -> None:
        """Nothing is open."""


def logger(kind: Log, folder: Path, history: Sequence[Mapping[str, Any]]) -> Logger:
    """A log in a folder, with the epochs that are already done in it. Raises: MissingPackage."""
    made: Logger = Nothing() if kind == "none" else Table(folder) if kind == "csv" else TensorBoard(folder)
    for epoch in history:
        made.add(epoch)
    return made
