"""Every error edgesmith raises on purpose.

    EdgesmithError          asked, found, todo; exit_code
     |- UsageError          2  wrong arguments or options
     |   |- RecipeError     2  all mistakes of a recipe at once
     |   '- UntrustedFile   2  a file that could run code when loaded
     |- MissingPackage      3  a vendor package (an extra) is not installed
     |- MissingResource     3  a file, folder, device or free disk is not there
     |   |- ConnectionLost  3  a device went away in the middle of something
     |   |- DeviceBusy      3  somebody else measures on the device
     |   |- HostKeyRefused  3  the machine that answered is not known to be the one that was meant
     |   '- LoginRefused    3  the device does not let us in
     |- ExportFailed        1  a target cannot take this model; names the operator
     |- DamagedArtifact     1  a checksum or record does not hold
     |- EngineFailed        1  a runtime refused or crashed
     '- TrainingFailed      1  NaN loss and the like

Whatever else reaches the command line is a bug and exits with 4.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


class EdgesmithError(Exception):
    """An error in three parts: what was asked, what was found, what to do."""

    exit_code = 1

    def __init__(self, asked: str, found: str, todo: str) -> None:
        super().__init__(f"{asked}: {found}; {todo}" if todo else f"{asked}: {found}")
        self.asked, self.found, self.todo = asked, found, todo

    def __reduce__(self) -> tuple[Any, ...]:  # exceptions with several arguments do not pickle by themselves
        return type(self), (self.asked, self.found, self.todo)


class UsageError(EdgesmithError):
    """Wrong arguments or options."""

    exit_code = 2


class RecipeError(UsageError):
    """All mistakes of a recipe at once, each line with its path in the file."""

    def __init__(self, source: str, problems: Sequence[str]) -> None:
        self.source, self.problems = source, tuple(problems)
        mistakes = "mistake" if len(self.problems) == 1 else "mistakes"
        super().__init__(
            f"read recipe {source}",
            f"{len(self.problems)} {mistakes}\n  " + "\n  ".join(self.problems),
            "correct each line at its path; nothing was run",
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.source, self.problems)


class UntrustedFile(UsageError):
    """A file that could run code when loaded."""


class MissingPackage(EdgesmithError):
    """A vendor package is not installed."""

    exit_code = 3


class MissingResource(EdgesmithError):
    """A file, folder, device or free disk space is not there."""

    exit_code = 3


class ConnectionLost(MissingResource):
    """A device went away in the middle of something."""


class DeviceBusy(MissingResource):
    """Somebody else measures on the device."""


class HostKeyRefused(MissingResource):
    """The machine that answered is not known to be the one that was meant."""


class LoginRefused(MissingResource):
    """The device does not let us in."""


class ExportFailed(EdgesmithError):
    """A target cannot take this model."""


class DamagedArtifact(EdgesmithError):
    """A checksum or a record does not hold."""


class EngineFailed(EdgesmithError):
    """A runtime refused or crashed."""


class TrainingFailed(EdgesmithError):
    """Training cannot go on."""


def worst(codes: Iterable[int]) -> int:
    """The exit code that wins where several hold: 4 > 2 > 3 > 1 > 5, and 0 when there is none."""
    found = set(codes)
    return next((code for code in (4, 2, 3, 1, 5) if code in found), 0)
