"""What a checkpoint of a task says of its frozen teacher: nothing; the teacher comes from where it was named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

TEACHER = "teacher."  # the teacher is the submodule of this name


def without_teacher(state: Mapping[str, Any]) -> dict[str, Any]:
    """A task's state as a resumed training needs it."""
    return {name: value for name, value in state.items() if not name.startswith(TEACHER)}


def with_teacher(state: Mapping[str, Any], teacher: nn.Module | None) -> dict[str, Any]:
    """A saved state with the teacher's own in it, so that it can be loaded strictly."""
    theirs = {} if teacher is None else teacher.state_dict()
    return {**state, **{TEACHER + name: value for name, value in theirs.items()}}
