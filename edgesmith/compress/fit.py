"""The one training loop; every method is a Task it steps. One epoch is in loop.py, devices are in engine.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from edgesmith.artifact import content_key
from edgesmith.compress.checkpoint import ADVICE, NAME, Checkpoint, read_checkpoint, write_checkpoint
from edgesmith.compress.engine import synced_norms
from edgesmith.compress.logs import logger
from edgesmith.compress.loop import Epoch, Loop, opened, run_epoch, set_up, with_what_is_left
from edgesmith.compress.ranks import start
from edgesmith.compress.settings import MACHINE, FitConfig
from edgesmith.compress.task import Batch, Source, Task
from edgesmith.data.split import Split, digest
from edgesmith.errors import DamagedArtifact, UsageError
from edgesmith.tensors import Preprocessing

__all__ = ["MACHINE", "Epoch", "FitConfig", "FitResult", "fit"]


@dataclass(frozen=True)
class FitResult:
    """All epochs, also those before an interruption; resumed_from is how many of them were already done.

    finished_early: the task said that it was finished before the last epoch.
    """

    history: tuple[Epoch, ...]
    resumed_from: int | None
    finished_early: bool = False


def fit(
    task: Task,
    train: Split,
    preprocessing: Preprocessing | None,
    config: FitConfig,
    folder: Path,
    report: Callable[[Epoch], None] | None = None,
    tick: Callable[[int, float], None] | None = None,
) -> FitResult:
    """Train a task, going on from folder/last.ckpt if it is there; on a CPU the end is the same, bit for bit.

    Several processes (torchrun) share each batch; the first alone writes, reports, and makes what `prepare` keeps.
    `report` is called after each epoch, when its checkpoint is already safe, `tick(epoch, share of it)` after each
    step. A task with `prepare` sees the samples first; what it keeps for other trainings lies beside `folder`.
    With `ema` the task has the averaged weights in the end.
    Raises: UsageError, TrainingFailed (a loss or weight is not finite, a process is gone), DamagedArtifact,
    MissingResource, MissingPackage.
    """
    _check(task)
    settings = {name: value for name, value in asdict(config).items() if name not in MACHINE}
    data = content_key(preprocessing, digest(train))
    asked = content_key(settings, data)
    among = start(config.timeout_s)
    with _threads(config.threads), among.watched("train"):
        among.same("train in several processes", asked)
        loop = opened(task, train, preprocessing, config, among, tick if among.rank == 0 else None)
        with synced_norms(task, config.sync_bn, among, loop.fabric.device):
            if (prepare := getattr(task, "prepare", None)) is not None:
                prepare(_source(loop, data, folder))
            shares = among.world > 1 and bool(getattr(task, "per_rank", ()))
            saved = read_checkpoint(folder, asked, among.rank, shares)
            loop = _restored(loop, saved, folder) if saved else set_up(loop)
            history, finished = _train(loop, saved, asked, folder, shares, report if among.rank == 0 else None)
            if loop.average is not None:
                loop.average.swap()
    task.to("cpu")  # type: ignore[attr-defined]
    return FitResult(tuple(history), saved.epoch if saved else None, finished and len(history) < config.epochs)


def _restored(loop: Loop, saved: Checkpoint, folder: Path) -> Loop:
    """The loop as it was when the checkpoint was written: the task first, as it may have other parameters then."""
    try:
        loop.task.load_state_dict(saved.task)
        loop = set_up(loop)
        for optimizer, state in zip(loop.raw, saved.optimizers, strict=True):
            optimizer.load_state_dict(state)
        if loop.average is not None:
            loop.average.load_state_dict(saved.average or {})
        return loop
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        found = f"its content does not fit this task ({str(error)[:200]})"
        raise DamagedArtifact(f"resume from {folder / NAME}", found, ADVICE) from error


def _train(
    loop: Loop,
    saved: Checkpoint | None,
    asked: str,
    folder: Path,
    shares: bool,
    report: Callable[[Epoch], None] | None,
) -> tuple[list[Epoch], bool]:
    """All epochs that are not done yet; also whether the task says that it is finished."""
    history = [Epoch(**epoch) for epoch in saved.history] if saved else []
    finished = saved.finished if saved else False
    folder.mkdir(parents=True, exist_ok=True)
    log = logger(loop.config.log if loop.among.rank == 0 else "none", folder, [asdict(epoch) for epoch in history])
    while len(history) < loop.config.epochs and not finished:
        history.append(run_epoch(loop, len(history)))
        loop.task.epoch_end(len(history) - 1)
        loop = with_what_is_left(loop)
        finished = bool(loop.among.tell(int(getattr(loop.task, "finished", False))))
        write_checkpoint(folder, _checkpoint(loop, asked, history, finished), loop.among, shares)
        log.add(asdict(history[-1]))
        if report:
            report(history[-1])
    log.close()
    return history, finished


def _checkpoint(loop: Loop, asked: str, history: list[Epoch], finished: bool) -> Checkpoint:
    states = [optimizer.state_dict() for optimizer in loop.raw]
    average = loop.average.state_dict() if loop.average is not None else None
    plain = [asdict(epoch) for epoch in history]
    return Checkpoint(len(history), asked, loop.task.state_dict(), states, plain, finished, average)


def _source(loop: Loop, data: str, folder: Path) -> Source:
    whole, device = loop.whole, loop.fabric.device

    def read(rows: Tensor, mirrored: bool) -> Batch:
        return whole.read(rows, mirrored, device)

    beside = folder.resolve().parent
    return Source(len(whole), whole.labels, whole.augment, data, beside, device, read)


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
