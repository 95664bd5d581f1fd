"""Optimizers and learning-rate schedules of the training loop."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import nn

from edgesmith.errors import UsageError

OptimizerName = Literal["sgd", "adamw", "adam"]
Schedule = Literal["cosine", "step", "constant"]
DECAY = 0.1  # a step schedule's factor at each milestone


@dataclass(frozen=True)
class OptimizerChoice:
    """One optimizer and its schedule; `clip` is the largest gradient norm, `min_lr` where a cosine ends.

    adam decays by an L2 term in the gradient, adamw apart from it. decay_vectors: weight decay also reaches biases,
    norms, slopes and other vectors (architecture parameters are such). Raises: UsageError.
    """

    name: OptimizerName = "sgd"
    lr: float = 0.05
    momentum: float = 0.9
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    decay_vectors: bool = False
    schedule: Schedule = "constant"
    min_lr: float = 0.0
    milestones: tuple[int, ...] = ()
    warmup_epochs: float = 0.0
    clip: float | None = None

    def __post_init__(self) -> None:
        wrong = {
            f"lr {self.lr}": not self.lr > 0,
            f"min_lr {self.min_lr}": not 0 <= self.min_lr <= self.lr,
            f"clip {self.clip}": self.clip is not None and not self.clip > 0,
        }
        if found := ", ".join(text for text, bad in wrong.items() if bad):
            raise UsageError("an optimizer", found, "lr and clip must be above 0, min_lr from 0 to lr")


def make_optimizer(parameters: Iterable[nn.Parameter], choice: OptimizerChoice) -> torch.optim.Optimizer:
    """The chosen optimizer on what may learn; weight decay only on matrices and kernels, unless decay_vectors.

    Raises: UsageError for an unknown name, or when nothing may learn.
    """
    learning = [parameter for parameter in parameters if parameter.requires_grad]
    vectors = choice.weight_decay if choice.decay_vectors else 0.0
    groups = [
        {"params": [p for p in learning if p.ndim > 1], "weight_decay": choice.weight_decay},
        {"params": [p for p in learning if p.ndim <= 1], "weight_decay": vectors},
    ]
    groups = [group for group in groups if group["params"]]
    if not groups:
        raise UsageError("train", "no parameter may learn", "unfreeze some")
    if choice.name == "sgd":
        return torch.optim.SGD(groups, lr=choice.lr, momentum=choice.momentum)
    if choice.name == "adamw":
        return torch.optim.AdamW(groups, lr=choice.lr, betas=choice.betas)
    if choice.name == "adam":
        return torch.optim.Adam(groups, lr=choice.lr, betas=choice.betas)
    raise UsageError(f"optimizer {choice.name!r}", "no such name", f"choose one of {get_args(OptimizerName)}")


def moved_state(before: torch.optim.Optimizer, after: torch.optim.Optimizer) -> None:
    """Give `after` the state (momentum, moments) of every parameter that `before` moved too."""
    for group in after.param_groups:
        for parameter in group["params"]:
            if parameter in before.state:
                after.state[parameter] = before.state[parameter]


def learning_rate(choice: OptimizerChoice, progress: float, step: float, epochs: int) -> float:
    """The learning rate `progress` epochs into so many; `step` is the share of an epoch that one step is."""
    factor = lr_factor(choice.schedule, progress, step, epochs, choice.warmup_epochs, choice.milestones)
    floor = choice.min_lr if choice.schedule == "cosine" and progress >= choice.warmup_epochs else 0.0
    return floor + (choice.lr - floor) * factor


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
