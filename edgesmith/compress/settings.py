"""The settings of a training."""

from __future__ import annotations

from dataclasses import dataclass

from edgesmith.compress.batches import Augment
from edgesmith.compress.engine import Precision
from edgesmith.compress.logs import Log
from edgesmith.compress.optimizer import OptimizerChoice, OptimizerName, Schedule
from edgesmith.compress.ranks import TIMEOUT_S
from edgesmith.errors import UsageError
from edgesmith.targets import rules_of

# Settings of the machine and of what is shown: they do not make it another training.
MACHINE = ("threads", "accelerator", "log", "timeout_s")


@dataclass(frozen=True)
class FitConfig:
    """Settings of a training; weight decay spares biases and norms, `clip` is the largest gradient norm.

    batch is that of a step of all processes together. min_lr: where a cosine ends. A phase with an optimizer of its
    own goes by that and not by what is said here. ema: decay of an average of the weights, which is then what the
    task has in the end. sync_bn: batch norms look at the batches of all processes. timeout_s: how long a process
    waits for another one that hangs, or for what the first does alone.
    """

    epochs: int = 8
    batch: int = 64
    lr: float = 0.05
    optimizer: OptimizerName = "sgd"
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: Schedule = "cosine"
    min_lr: float = 0.0
    milestones: tuple[int, ...] = ()
    warmup_epochs: float = 0.0
    seed: int = 0
    precision: Precision = "32-true"
    clip: float | None = None
    ema: float | None = None
    augment: Augment = "none"
    channels_last: bool = False
    sync_bn: bool = False
    threads: int | None = None
    accelerator: str = "auto"
    log: Log = "csv"
    timeout_s: float = TIMEOUT_S

    def __post_init__(self) -> None:
        wrong = {
            f"epochs {self.epochs}": self.epochs < 1,
            f"batch {self.batch}": self.batch < 2,
            f"lr {self.lr}": not self.lr > 0,
            f"threads {self.threads}": self.threads is not None and self.threads < 1,
            f"timeout_s {self.timeout_s}": not self.timeout_s > 0,
        }
        if found := ", ".join(text for text, bad in wrong.items() if bad):
            raise UsageError("train", found, "epochs, lr, threads and timeout_s must be above 0, batch above 1")
        if self.ema is not None and not 0 < self.ema < 1:
            raise UsageError("train", f"ema {self.ema}", "give a decay between 0 and 1, e.g. 0.999")
        _ = self.choice  # which looks at the rest

    @property
    def choice(self) -> OptimizerChoice:
        """The optimizer of phases that have none of their own."""
        return OptimizerChoice(
            self.optimizer,
            self.lr,
            self.momentum,
            weight_decay=self.weight_decay,
            schedule=self.schedule,
            min_lr=self.min_lr,
            milestones=self.milestones,
            warmup_epochs=self.warmup_epochs,
            clip=self.clip,
        )


@dataclass(frozen=True)
class Qat:
    """Quantization-aware training (qat.py) for one family; other families can calibrate the weights that come out.

    freeze_ranges: after so many epochs the step sizes stay and the weights settle under them; None: they always learn.
    calibration: how many training samples the step sizes start from. Raises: UsageError.
    """

    family: str = "ort"
    freeze_ranges: int | None = None
    calibration: int = 256

    def __post_init__(self) -> None:
        rules_of(self.family)
        if self.calibration < 1 or (self.freeze_ranges is not None and self.freeze_ranges < 0):
            found = f"calibration {self.calibration}, freeze_ranges {self.freeze_ranges}"
            raise UsageError("train aware of quantization", found, "give at least 1 sample, and epochs from 0 on")
