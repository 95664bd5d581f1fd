"""The one training loop, on Lightning Fabric; every method is a Task it steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from edgesmith.artifact import content_key
from edgesmith.compress.batches import Augment, Batches, batches_of
from edgesmith.compress.checkpoint import ADVICE, NAME, Checkpoint, read_checkpoint, write_checkpoint
from edgesmith.compress.meter import Meter, check_weights
from edgesmith.compress.optimizer import OptimizerChoice, OptimizerName, Schedule, learning_rate
from edgesmith.compress.phases import active, choices, feeds, followed, optimizers_of
from edgesmith.compress.task import Batch, Phase, Source, Task
from edgesmith.data.split import Split, digest
from edgesmith.errors import DamagedArtifact, UsageError
from edgesmith.tensors import Preprocessing

LOOK_EVERY = 50  # steps between looks for a NaN: each look waits for the device
MACHINE = ("threads", "accelerator")  # settings of the machine: they do not make it another training


@dataclass(frozen=True)
class FitConfig:
    """Settings of a training; weight decay spares biases and norms, `clip` is the largest gradient norm.

    min_lr: where a cosine ends. A phase with an optimizer of its own goes by that and not by what is said here.
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
class Epoch:
    """What one epoch (counted from 1) gave: means over its samples, accuracy where the task tells it."""

    epoch: int
    loss: float
    terms: Mapping[str, float]
    accuracy: float | None
    seconds: float


@dataclass(frozen=True)
class FitResult:
    """All epochs, also those before an interruption; resumed_from is how many of them were already done.

    finished_early: the task said that it was finished before the last epoch.
    """

    history: tuple[Epoch, ...]
    resumed_from: int | None
    finished_early: bool = False


@dataclass(frozen=True)
class Loop:
    """What a training runs on. Optimizers are in the order of the phases; `raw` are those that Fabric wraps."""

    fabric: Fabric
    task: Task
    stepper: Any
    raw: list[torch.optim.Optimizer]
    optimizers: list[Any]
    whole: Batches
    feeds: Mapping[str, Batches]
    choices: list[OptimizerChoice]
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
        loop, history = _restored(loop, saved, folder) if saved else (loop, [])
        finished = saved.finished if saved else False
        while len(history) < config.epochs and not finished:
            index = len(history)
            history.append(_epoch(loop, index))
            task.epoch_end(index)
            loop, finished = _followed(loop), bool(getattr(task, "finished", False))
            states = [optimizer.state_dict() for optimizer in loop.raw]
            plain = [asdict(epoch) for epoch in history]
            write_checkpoint(folder, Checkpoint(index + 1, asked, task.state_dict(), states, plain, finished))
            if report:
                report(history[-1])
    task.to("cpu")  # type: ignore[attr-defined]
    return FitResult(tuple(history), saved.epoch if saved else None, finished and len(history) < config.epochs)


def _prepare(task: Task, train: Split, preprocessing: Preprocessing | None, config: FitConfig) -> Loop:
    whole = batches_of(train, preprocessing, config.batch, config.seed, config.augment, config.channels_last)
    module: nn.Module = task  # type: ignore[assignment]
    if config.channels_last:
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    phases = tuple(task.phases)
    given, raw = feeds(whole, phases), optimizers_of(phases, config.choice)
    fabric = Fabric(accelerator=config.accelerator, devices=1, precision=config.precision)
    loop = Loop(fabric, task, None, [], [], whole, given, choices(phases, config.choice), config)
    return _set_up(loop, raw)


def _set_up(loop: Loop, raw: list[torch.optim.Optimizer]) -> Loop:
    """Wrap the task as it is now, and its optimizers."""
    stepper = loop.fabric.setup_module(Stepper(loop.task, tuple(loop.task.phases)))  # type: ignore[arg-type]
    return replace(
        loop, stepper=stepper, raw=raw, optimizers=[loop.fabric.setup_optimizers(optimizer) for optimizer in raw]
    )


def _followed(loop: Loop) -> Loop:
    """The loop after the task may have deleted or made parameters."""
    after = followed(loop.task.phases, loop.config.choice, loop.raw)
    return loop if after is None else _set_up(loop, after)


def _source(loop: Loop, data: str, folder: Path) -> Source:
    whole, device = loop.whole, loop.fabric.device

    def read(rows: Tensor, mirrored: bool) -> Batch:
        return whole.read(rows, mirrored, device)

    beside = folder.resolve().parent
    return Source(len(whole), whole.labels, whole.augment, data, beside, device, read)


def _restored(loop: Loop, saved: Checkpoint, folder: Path) -> tuple[Loop, list[Epoch]]:
    try:
        loop.task.load_state_dict(saved.task)
        loop = _followed(loop)
        for optimizer, state in zip(loop.raw, saved.optimizers, strict=True):
            optimizer.load_state_dict(state)
        return loop, [Epoch(**epoch) for epoch in saved.history]
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        found = f"its content does not fit this task ({str(error)[:200]})"
        raise DamagedArtifact(f"resume from {folder / NAME}", found, ADVICE) from error


def _epoch(loop: Loop, index: int) -> Epoch:
    started = time.monotonic()
    phases = tuple(loop.task.phases)
    meters = {number: Meter(index + 1) for number in active(loop.task, index)}
    loop.stepper.train()
    with _seeded(loop.config.seed, index, loop.fabric.device):
        for step, progress, batches in _rounds(loop, index, {phases[number].data for number in meters}):
            for number, meter in meters.items():
                if (batch := batches[phases[number].data]) is not None:
                    _step(loop, number, batch, progress, meter)
                if (step + 1) % LOOK_EVERY == 0:
                    meter.look()
    means = {phases[number].name: meter.means() for number, meter in meters.items()}
    check_weights(loop.stepper, index + 1)
    return _summary(index + 1, means, len(phases) > 1, time.monotonic() - started)


def _rounds(
    loop: Loop, index: int, wanted: set[str]
) -> Iterator[tuple[int, tuple[float, float], dict[str, Batch | None]]]:
    """One batch of each kind of data at a time; None where a shorter kind has no more."""
    steps = max(loop.feeds[name].steps() for name in wanted)
    streams = {name: loop.feeds[name].epoch(index, loop.fabric.device) for name in sorted(wanted)}
    for step in range(steps):
        batches = {name: next(stream, None) for name, stream in streams.items()}
        yield step, (index + step / steps, 1 / steps), batches


def _step(loop: Loop, number: int, batch: Batch, progress: tuple[float, float], meter: Meter) -> None:
    optimizer, choice = loop.optimizers[number], loop.choices[number]
    rate = learning_rate(choice, *progress, loop.config.epochs)
    for group in optimizer.param_groups:
        group["lr"] = rate
    loss, terms, size = loop.stepper(number, batch.inputs, batch.labels, batch.rows, batch.mirrored)
    optimizer.zero_grad(set_to_none=True)
    loop.fabric.backward(loss)
    if choice.clip is not None:
        loop.fabric.clip_gradients(loop.stepper, optimizer, max_norm=choice.clip, error_if_nonfinite=False)
    optimizer.step()
    meter.add(loss, terms, size)


def _summary(number: int, means: Mapping[str, Mapping[str, float]], named: bool, seconds: float) -> Epoch:
    """Losses add up over the phases; terms carry the phase's name where there are several."""
    terms = {
        f"{phase}.{name}" if named else name: value
        for phase, found in means.items()
        for name, value in found.items()
        if named or name not in ("loss", "accuracy")
    }
    accuracy = next((found["accuracy"] for found in means.values() if "accuracy" in found), None)
    return Epoch(number, sum(found["loss"] for found in means.values()), terms, accuracy, seconds)


def _check(task: Task) -> None:
    if not isinstance(task, nn.Module):
        raise UsageError("train a task", f"a {type(task).__name__}", "a Task must be an nn.Module")


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
