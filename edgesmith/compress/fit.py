"""The one training loop, on Lightning Fabric; every method is a Task it steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from edgesmith.artifact import content_key
from edgesmith.compress.batches import Augment, Batches, batches_of
from edgesmith.compress.checkpoint import ADVICE, NAME, Checkpoint, read_checkpoint, write_checkpoint
from edgesmith.compress.meter import Meter, check_weights
from edgesmith.compress.optimizer import OptimizerName, Schedule, lr_factor, make_optimizer
from edgesmith.compress.task import Batch, Phase, Source, Task
from edgesmith.data.split import Split, digest
from edgesmith.errors import DamagedArtifact, UsageError
from edgesmith.tensors import Preprocessing

LOOK_EVERY = 50  # steps between looks for a NaN: each look waits for the device
MACHINE = ("threads", "accelerator")  # settings of the machine: they do not make it another training


@dataclass(frozen=True)
class FitConfig:
    """Settings of a training; weight decay spares biases and norms, `clip` is the largest gradient norm."""

    epochs: int = 8
    batch: int = 64
    lr: float = 0.05
    optimizer: OptimizerName = "sgd"
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: Schedule = "cosine"
    milestones: tuple[int, ...] = ()
    warmup_epochs: float = 0.0
    seed: int = 0
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    clip: float | None = None
    augment: Augment = "none"
    channels_last: bool = False
    threads: int | None = None
    accelerator: str = "auto"

    def __post_init__(self) -> None:
        wrong = {
            f"epochs {self.epochs}": self.epochs < 1,
            f"batch {self.batch}": self.batch < 2,
            f"lr {self.lr}": not self.lr > 0,
            f"threads {self.threads}": self.threads is not None and self.threads < 1,
        }
        if found := ", ".join(text for text, bad in wrong.items() if bad):
            raise UsageError("train", found, "epochs, lr and threads must be above 0, batch above 1")


@dataclass(frozen=True)
class Epoch:
    """What one epoch (counted from 1) gave: means over its samples, accuracy where the task tells it."""

    epoch: int
    loss: float
    terms: Mapping[str, float]
    accuracy: float | None
    seconds: float


@dataclass(frozen=True)
class FitResult:
    """All epochs, also those before an interruption; resumed_from is how many of them were already done."""

    history: tuple[Epoch, ...]
    resumed_from: int | None


@dataclass(frozen=True)
class Loop:
    """What stays the same from epoch to epoch."""

    fabric: Fabric
    task: Task
    stepper: Any
    optimizers: list[Any]
    batches: Batches
    config: FitConfig


class Stepper(nn.Module):
    """A task's step as a forward pass, so that Fabric can wrap it (precision, and gradients of several ranks)."""

    def __init__(self, task: nn.Module, phases: tuple[Phase, ...]) -> None:
        super().__init__()
        self.task, self.phases = task, phases

    def forward(self, phase: int, *batch: Any) -> tuple[Tensor, dict, int]:
        output = self.task.step(Batch(*batch), self.phases[phase])  # type: ignore[operator]
        return output.loss, dict(output.terms), output.size


def fit(
    task: Task,
    train: Split,
    preprocessing: Preprocessing | None,
    config: FitConfig,
    folder: Path,
    report: Callable[[Epoch], None] | None = None,
) -> FitResult:
    """Train a task, going on from folder/last.ckpt if it is there; on a CPU the end is the same, bit for bit.

    `report` is called after each epoch, when its checkpoint is already safe. A task with `prepare` sees the samples
    first; what it keeps for other trainings lies beside `folder`.
    Raises: UsageError, TrainingFailed (a loss or weight is not finite), DamagedArtifact, MissingResource.
    """
    _check(task)
    settings = {name: value for name, value in asdict(config).items() if name not in MACHINE}
    data = content_key(preprocessing, digest(train))
    asked = content_key(settings, data)
    with _threads(config.threads):
        loop = _prepare(task, train, preprocessing, config)
        if (prepare := getattr(task, "prepare", None)) is not None:
            prepare(_source(loop, data, folder))
        saved = read_checkpoint(folder, asked)
        history = _restore(loop, saved, folder) if saved else []
        for index in range(len(history), config.epochs):
            history.append(_epoch(loop, index))
            task.epoch_end(index)
            states = [optimizer.state_dict() for optimizer in loop.optimizers]
            plain = [asdict(epoch) for epoch in history]
            write_checkpoint(folder, Checkpoint(index + 1, asked, task.state_dict(), states, plain))
            if report:
                report(history[-1])
    task.to("cpu")  # type: ignore[attr-defined]
    return FitResult(tuple(history), saved.epoch if saved else None)


def _prepare(task: Task, train: Split, preprocessing: Preprocessing | None, config: FitConfig) -> Loop:
    batches = batches_of(train, preprocessing, config.batch, config.seed, config.augment, config.channels_last)
    module: nn.Module = task  # type: ignore[assignment]
    if config.channels_last:
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    phases = tuple(task.phases)
    optimizers = [
        make_optimizer(phase.parameters(), config.optimizer, config.lr, config.momentum, config.weight_decay)
        for phase in phases
    ]
    fabric = Fabric(accelerator=config.accelerator, devices=1, precision=config.precision)
    stepper = fabric.setup_module(Stepper(module, phases))
    wrapped = [fabric.setup_optimizers(optimizer) for optimizer in optimizers]
    return Loop(fabric, task, stepper, wrapped, batches, config)


def _source(loop: Loop, data: str, folder: Path) -> Source:
    batches, device = loop.batches, loop.fabric.device

    def read(rows: Tensor, mirrored: bool) -> Batch:
        return batches.read(rows, mirrored, device)

    beside = folder.resolve().parent
    return Source(len(batches.inputs[0]), batches.labels, batches.augment, data, beside, device, read)


def _restore(loop: Loop, saved: Checkpoint, folder: Path) -> list[Epoch]:
    try:
        loop.task.load_state_dict(saved.task)
        for optimizer, state in zip(loop.optimizers, saved.optimizers, strict=True):
            optimizer.load_state_dict(state)
        return [Epoch(**epoch) for epoch in saved.history]
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        found = f"its content does not fit this task ({str(error)[:200]})"
        raise DamagedArtifact(f"resume from {folder / NAME}", found, ADVICE) from error


def _epoch(loop: Loop, index: int) -> Epoch:
    started = time.monotonic()
    phases = tuple(loop.task.phases)
    meters = [Meter(index + 1) for _ in phases]
    steps = loop.batches.steps()
    loop.stepper.train()
    with _seeded(loop.config.seed, index, loop.fabric.device):
        for step, batch in enumerate(loop.batches.epoch(index, loop.fabric.device)):
            factor = _factor(loop.config, index + step / steps, 1 / steps)
            for number, meter in enumerate(meters):
                _step(loop, number, batch, factor, meter)
                if (step + 1) % LOOK_EVERY == 0:
                    meter.look()
    means = [meter.means() for meter in meters]
    check_weights(loop.stepper, index + 1)
    terms = means[0] if len(phases) == 1 else {f"{p.name}.{k}": v for p, m in zip(phases, means) for k, v in m.items()}
    loss = sum(mean["loss"] for mean in means)
    accuracy = means[0].get("accuracy")
    shown = {name: value for name, value in terms.items() if name not in ("loss", "accuracy")}
    return Epoch(index + 1, loss, shown, accuracy, time.monotonic() - started)


def _step(loop: Loop, number: int, batch: Batch, factor: float, meter: Meter) -> None:
    optimizer = loop.optimizers[number]
    for group in optimizer.param_groups:
        group["lr"] = loop.config.lr * factor
    loss, terms, size = loop.stepper(number, batch.inputs, batch.labels, batch.rows, batch.mirrored)
    optimizer.zero_grad(set_to_none=True)
    loop.fabric.backward(loss)
    if loop.config.clip is not None:
        loop.fabric.clip_gradients(loop.stepper, optimizer, max_norm=loop.config.clip, error_if_nonfinite=False)
    optimizer.step()
    meter.add(loss, terms, size)


def _factor(config: FitConfig, progress: float, step: float) -> float:
    return lr_factor(config.schedule, progress, step, config.epochs, config.warmup_epochs, config.milestones)


def _check(task: Task) -> None:
    if not isinstance(task, nn.Module):
        raise UsageError("train a task", f"a {type(task).__name__}", "a Task must be an nn.Module")
    if strange := {phase.data for phase in task.phases} - {"train"}:
        raise UsageError("train a task", f"it asks for data {sorted(strange)}", 'this loop gives "train"')


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _seeded(seed: int, epoch: int, device: torch.device) -> Iterator[None]:
    """Dropout and the like start anew from (seed, epoch): a resumed epoch sees what it would have seen."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed((seed << 20) + epoch)
        yield
