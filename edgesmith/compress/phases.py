"""Phases of a training: what data each sees, when it takes part, and which optimizer moves its parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import get_args

import torch

from edgesmith.compress.batches import Batches
from edgesmith.compress.optimizer import OptimizerChoice, make_optimizer, moved_state
from edgesmith.compress.ranks import Ranks
from edgesmith.compress.task import Phase, PhaseData, Task
from edgesmith.errors import UsageError

HALVES: tuple[PhaseData, PhaseData] = ("first_half", "second_half")


def feeds(whole: Batches, phases: Sequence[Phase], among: Ranks) -> dict[str, Batches]:
    """The batches of each kind of data that the phases ask for, or this rank's share of them.

    The halves are equally long, so that their phases take equally many steps: of an odd number of samples one is in
    neither. Raises: UsageError for other data, for too few samples, or a batch that the ranks cannot share.
    """
    if whole.size % among.world or whole.size < 2 * among.world:
        todo = f"batch is that of all processes: give a multiple of {among.world}, two samples for each at least"
        raise UsageError(f"train in {among.world} processes", f"batch {whole.size}", todo)
    wanted = {phase.data for phase in phases}
    if strange := wanted - set(get_args(PhaseData)):
        raise UsageError("train a task", f"it asks for data {sorted(strange)}", f"there are {get_args(PhaseData)}")
    found: dict[str, Batches] = {"train": whole} if "train" in wanted else {}
    if wanted & set(HALVES):
        size = len(whole) // 2
        rows = torch.randperm(len(whole), generator=torch.Generator().manual_seed(whole.seed))
        for name, part in zip(HALVES, (rows[:size], rows[size : 2 * size])):
            found |= {name: replace(whole, rows=part)} if name in wanted else {}
    for kind, feed in found.items():
        if len(feed) < (2 * among.world if among.world > 1 or kind in HALVES else 1):
            raise UsageError(f"train on {kind} of the data", f"{len(feed)} samples", "give more data")
    return {kind: replace(feed, rank=among.rank, world=among.world) for kind, feed in found.items()}


def active(task: Task, epoch: int) -> tuple[int, ...]:
    """The numbers of the phases that take part in an epoch (counted from 0): all, unless the task says which.

    Raises: UsageError when it names none, or one it has not.
    """
    names = [phase.name for phase in task.phases]
    if (asked := getattr(task, "active", None)) is None:
        return tuple(range(len(names)))
    chosen = set(asked(epoch))
    if not chosen or not chosen <= set(names):
        raise UsageError(f"train epoch {epoch + 1}", f"active phases {sorted(chosen)}", f"name some of {names}")
    return tuple(number for number, name in enumerate(names) if name in chosen)


def choices(phases: Sequence[Phase], default: OptimizerChoice) -> list[OptimizerChoice]:
    """The optimizer settings of each phase."""
    return [phase.optimizer or default for phase in phases]


def optimizers_of(phases: Sequence[Phase], default: OptimizerChoice) -> list[torch.optim.Optimizer]:
    """One new optimizer a phase. Raises: UsageError."""
    return [make_optimizer(phase.parameters(), choice) for phase, choice in zip(phases, choices(phases, default))]


def followed(
    phases: Sequence[Phase], default: OptimizerChoice, before: Sequence[torch.optim.Optimizer]
) -> list[torch.optim.Optimizer] | None:
    """Optimizers of the parameters that the phases have now, with the state of those that stayed.

    None when the parameters are those of before. Raises: UsageError when a phase has none left.
    """
    after = optimizers_of(phases, default)
    if all(_moved(old) == _moved(new) for old, new in zip(before, after, strict=True)):
        return None
    for old, new in zip(before, after):
        moved_state(old, new)
    return after


def _moved(optimizer: torch.optim.Optimizer) -> list[int]:
    return [id(parameter) for group in optimizer.param_groups for parameter in group["params"]]
