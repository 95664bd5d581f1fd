"""The loop's inside: one epoch of a task, on Fabric, step by step."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from edgesmith.compress.batches import Batches, batches_of
from edgesmith.compress.ema import Average
from edgesmith.compress.engine import check_equal, clip, make_fabric, per_rank_parameters, share_buffers, wrapped
from edgesmith.compress.meter import Meter, check_weights
from edgesmith.compress.optimizer import OptimizerChoice, learning_rate
from edgesmith.compress.phases import active, choices, feeds, followed, optimizers_of
from edgesmith.compress.ranks import Ranks
from edgesmith.compress.settings import FitConfig
from edgesmith.compress.task import Batch, Task
from edgesmith.data.split import Split
from edgesmith.tensors import Preprocessing

LOOK_EVERY = 50  # steps between looks for a NaN: each look waits for the device


@dataclass(frozen=True)
class Epoch:
    """What one epoch (counted from 1) gave: means over its samples, accuracy where the task tells it."""

    epoch: int
    loss: float
    terms: Mapping[str, float]
    accuracy: float | None
    seconds: float


@dataclass(frozen=True)
class Loop:
    """What a training runs on. Optimizers are in the order of the phases; `raw` are those that Fabric wraps.

    apart: ids of the parameters that are this rank's own.
    """

    fabric: Any
    among: Ranks
    task: Task
    whole: Batches
    feeds: Mapping[str, Batches]
    config: FitConfig
    tick: Callable[[int, float], None] | None
    average: Average | None = None
    stepper: Any = None
    raw: list[torch.optim.Optimizer] = field(default_factory=list)
    optimizers: list[Any] = field(default_factory=list)
    choices: list[OptimizerChoice] = field(default_factory=list)
    apart: set[int] = field(default_factory=set)


def opened(
    task: Task,
    train: Split,
    preprocessing: Preprocessing | None,
    config: FitConfig,
    among: Ranks,
    tick: Callable[[int, float], None] | None,
) -> Loop:
    """The data as batches and the task on its device; nothing is wrapped yet."""
    whole = batches_of(train, preprocessing, config.batch, config.seed, config.augment, config.channels_last)
    given = feeds(whole, tuple(task.phases), among)
    fabric = make_fabric(config.accelerator, config.precision, among)
    module: nn.Module = task  # type: ignore[assignment]
    if config.channels_last:
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    module.to(fabric.device)
    return Loop(fabric, among, task, whole, given, config, tick)


def set_up(loop: Loop, raw: list[torch.optim.Optimizer] | None = None) -> Loop:
    """Wrap the task as it is now, with new optimizers unless they are given."""
    phases, config, task = tuple(loop.task.phases), loop.config, loop.task
    raw = raw or optimizers_of(phases, config.choice)
    stepper = wrapped(loop.fabric, task, loop.among)  # first: it gives every rank the weights of rank 0
    average = loop.average
    if average is not None:
        average.follow()
    elif config.ema:
        average = Average(task, config.ema)  # type: ignore[arg-type]
        if (use := getattr(task, "use_average", None)) is not None:
            use(average)
    return replace(
        loop,
        stepper=stepper,
        average=average,
        raw=raw,
        optimizers=[loop.fabric.setup_optimizers(optimizer) for optimizer in raw],
        choices=choices(phases, config.choice),
        apart=per_rank_parameters(task, loop.among),
    )


def with_what_is_left(loop: Loop) -> Loop:
    """The loop after the task may have deleted or made parameters."""
    after = followed(loop.task.phases, loop.config.choice, loop.raw)
    return loop if after is None else set_up(loop, after)


def run_epoch(loop: Loop, index: int) -> Epoch:
    """One epoch (counted from 0): every active phase on each of its batches. Raises: TrainingFailed, UsageError."""
    started = time.monotonic()
    phases = tuple(loop.task.phases)
    meters = {number: Meter(index + 1, loop.among) for number in active(loop.task, index)}
    loop.stepper.train()
    with _seeded(loop.config.seed, index, loop.among.rank, loop.fabric.device):
        for step, share, batches in _rounds(loop, index, {phases[number].data for number in meters}):
            for number, meter in meters.items():
                if (batch := batches[phases[number].data]) is not None:
                    _step(loop, number, batch, (index + share[0], share[1]), meter)
                if (step + 1) % LOOK_EVERY == 0:
                    meter.look()
            if loop.average is not None:
                loop.average.update()
            if loop.tick is not None:
                loop.tick(index + 1, sum(share))
    means = {phases[number].name: meter.means() for number, meter in meters.items()}
    check_weights(loop.stepper, index + 1, loop.among)
    check_equal(loop.task, loop.among, index + 1)
    share_buffers(loop.task, loop.among)
    return _summary(index + 1, means, len(phases) > 1, time.monotonic() - started)


def _rounds(
    loop: Loop, index: int, wanted: set[str]
) -> Iterator[tuple[int, tuple[float, float], dict[str, Batch | None]]]:
    """One batch of each kind of data at a time, None where a shorter kind has no more; and the share of the epoch
    that is done, and that a step is."""
    steps = max(loop.feeds[name].steps() for name in wanted)
    streams = {name: loop.feeds[name].epoch(index, loop.fabric.device) for name in sorted(wanted)}
    for step in range(steps):
        batches = {name: next(stream, None) for name, stream in streams.items()}
        yield step, (step / steps, 1 / steps), batches


def _step(loop: Loop, number: int, batch: Batch, progress: tuple[float, float], meter: Meter) -> None:
    raw, choice = loop.raw[number], loop.choices[number]
    rate = learning_rate(choice, *progress, loop.config.epochs)
    for group in raw.param_groups:
        group["lr"] = rate
    loss, terms, size = loop.stepper(number, batch.inputs, batch.labels, batch.rows, batch.mirrored)
    raw.zero_grad(set_to_none=True)
    loop.fabric.backward(loss)
    if choice.clip is not None:
        clip(raw, choice.clip, loop.apart, loop.among)
    loop.optimizers[number].step()
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


@contextmanager
def _seeded(seed: int, epoch: int, rank: int, device: torch.device) -> Iterator[None]:
    """Dropout and the like start anew from (seed, epoch, rank): a resumed epoch sees what it would have seen."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed((rank << 48) + (seed << 20) + epoch)
        yield
