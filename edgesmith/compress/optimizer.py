"""Optimizers and learning-rate schedules of the training loop."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal, get_args

import torch
from torch import nn

from edgesmith.errors import UsageError

OptimizerName = Literal["sgd", "adamw"]
Schedule = Literal["cosine", "step", "constant"]
DECAY = 0.1  # a step schedule's factor at each milestone


def make_optimizer(
    parameters: Iterable[nn.Parameter], name: OptimizerName, lr: float, momentum: float, weight_decay: float
) -> torch.optim.Optimizer:
    """SGD or AdamW on what may learn; weight decay only on matrices and kernels, not on biases, norms and slopes.

    Raises: UsageError for an unknown name, or when nothing may learn.
    """
    learning = [parameter for parameter in parameters if parameter.requires_grad]
    groups = [
        {"params": [p for p in learning if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in learning if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if not groups:
        raise UsageError("train", "no parameter may learn", "unfreeze some")
    if name == "sgd":
        return torch.optim.SGD(groups, lr=lr, momentum=momentum)
    if name == "adamw":
        return torch.optim.AdamW(groups, lr=lr)
    raise UsageError(f"optimizer {name!r}", "no such name", f"choose one of {get_args(OptimizerName)}")


def lr_factor(
    schedule: Schedule, progress: float, step: float, epochs: int, warmup: float, milestones: Sequence[int] = ()
) -> float:
    """What the learning rate is multiplied by; `progress` in epochs done, `step` the share of an epoch one step is.

    Raises: UsageError for an unknown schedule.
    """
    if progress < warmup:
        return min(1.0, (progress + step) / warmup)
    if schedule == "constant":
        return 1.0
    if schedule == "step":
        return DECAY ** sum(progress >= milestone for milestone in milestones)
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / max(epochs - warmup, step)))
    raise UsageError(f"schedule {schedule!r}", "no such name", f"choose one of {get_args(Schedule)}")
