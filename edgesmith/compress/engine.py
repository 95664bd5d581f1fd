"""Lightning Fabric, as the loop uses it: devices, precision, and gradients averaged over processes (DDP).

A task may have `per_rank`: names of submodules whose parameters and buffers are each rank's own (class centres spread
over ranks). They are neither averaged nor made equal, and count once in a gradient's norm.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from edgesmith.compress.ranks import Ranks
from edgesmith.compress.task import Batch, Phase, Task
from edgesmith.errors import TrainingFailed, UsageError

Precision = Literal["32-true", "bf16-mixed"]


class Stepper(nn.Module):
    """A task's step as a forward pass, so that Fabric can wrap it (precision, and gradients of several ranks)."""

    def __init__(self, task: nn.Module, phases: tuple[Phase, ...]) -> None:
        super().__init__()
        self.task, self.phases = task, phases

    def forward(self, phase: int, *batch: Any) -> tuple[Tensor, dict, int]:
        output = self.task.step(Batch(*batch), self.phases[phase])  # type: ignore[operator]
        return output.loss, dict(output.terms), output.size


def make_fabric(accelerator: str, precision: Precision, among: Ranks) -> Fabric:
    """Fabric on this process's device; among several processes with DDP, for which torchrun must have started them.

    Raises: UsageError.
    """
    if among.world == 1:
        return Fabric(accelerator=accelerator, devices=1, precision=precision)
    if "LOCAL_WORLD_SIZE" not in os.environ:
        found = f"{among.world} processes that torchrun did not start"
        raise UsageError("train in several processes", found, "start them by torchrun --nproc-per-node N")
    local = int(os.environ["LOCAL_WORLD_SIZE"])
    # Batch-norm statistics are made equal once an epoch (share_buffers), which is when somebody reads them.
    known = inspect.signature(DistributedDataParallel.__init__).parameters
    buffers = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"  # torch before 2.13
    # A phase uses a part of the parameters, and so may a step (a head that takes no part, a path that is skipped).
    options: dict[str, Any] = {"find_unused_parameters": True, buffers: False}
    ddp = DDPStrategy(**options)
    fabric = Fabric(
        accelerator=accelerator, strategy=ddp, devices=local, num_nodes=among.world // local, precision=precision
    )
    fabric.launch()
    return fabric


def wrapped(fabric: Fabric, task: Task, among: Ranks) -> Any:
    """The task's step, ready to be called with the number of a phase and the fields of a batch."""
    stepper = Stepper(task, tuple(task.phases))  # type: ignore[arg-type]
    own = [f"task.{name}" for name in _per_rank_names(task)]
    if among.world > 1:
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(stepper, own)
    return fabric.setup_module(stepper)


def clip(optimizer: torch.optim.Optimizer, largest: float, apart: set[int], among: Ranks) -> None:
    """Scale the gradients of an optimizer's parameters so that their norm, over all ranks, is at most `largest`.

    apart: ids of the parameters that are each rank's own.
    """
    moved = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    total = nn.utils.get_total_norm([p.grad for p in moved if id(p) not in apart])
    if apart and among.world > 1:
        own = nn.utils.get_total_norm([p.grad for p in moved if id(p) in apart]).to(total.device).square()
        among.sum(own)
        total = (total.square() + own).sqrt()
    nn.utils.clip_grads_with_norm_(moved, largest, total)


def per_rank_parameters(task: Task, among: Ranks) -> set[int]:
    """The ids of the parameters that are each rank's own."""
    names = set(_per_rank_names(task)) if among.world > 1 else set()
    return {id(p) for name, p in task.named_parameters() if name in names}  # type: ignore[attr-defined]


def share_buffers(task: Task, among: Ranks) -> None:
    """Give every rank the buffers of rank 0: without sync_bn, batch-norm statistics are of each rank's own samples."""
    if among.world > 1:
        own = set(_per_rank_names(task))
        for name, buffer in task.named_buffers():  # type: ignore[attr-defined]
            if name not in own:
                among.spread(buffer)


def check_equal(task: Task, among: Ranks, epoch: int) -> None:
    """Raise TrainingFailed, on every rank, when the weights that should be equal have drifted apart."""
    if among.world == 1:
        return
    own = set(_per_rank_names(task))
    named: Iterable[tuple[str, Tensor]] = task.named_parameters()  # type: ignore[attr-defined]
    sums = [p.detach().double().sum() for name, p in named if name not in own]
    found = among.numbers(*torch.stack(sums).tolist())
    if other := [rank for rank, row in enumerate(found) if row != found[0]]:
        text = f"after epoch {epoch}: the weights of ranks {other} are not those of rank 0"
        raise TrainingFailed("train", text, "a step must not change weights itself, or do the same on every rank")


@contextmanager
def synced_norms(task: Task, wanted: bool, among: Ranks, device: torch.device) -> Iterator[None]:
    """Batch norms that look at the batches of all ranks inside the block. Raises: UsageError without GPUs."""
    if not wanted or among.world == 1:
        yield
        return
    if device.type == "cpu":
        raise UsageError("sync_bn", "torch synchronises batch norms on GPUs only", "leave it out")
    module: nn.Module = task  # type: ignore[assignment]
    before = {name: part for name, part in module.named_modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)}
    nn.SyncBatchNorm.convert_sync_batchnorm(module)
    try:
        yield
    finally:  # what is deployed has plain batch norms, with the statistics gathered meanwhile
        for name, part in before.items():
            _put_back(module, name, part)


def _put_back(module: nn.Module, name: str, part: nn.modules.batchnorm._BatchNorm) -> None:
    parent_name, _, attribute = name.rpartition(".")
    try:
        parent = module.get_submodule(parent_name)
        synced = getattr(parent, attribute)
    except AttributeError:  # the task has deleted it
        return
    part.load_state_dict(synced.state_dict())
    part.train(synced.training)
    setattr(parent, attribute, part)


def _per_rank_names(task: Task) -> list[str]:
    """Names of the parameters and buffers of `per_rank` submodules; one that a task does without has none."""
    parts = {name: getattr(task, name) for name in getattr(task, "per_rank", ())}
    return [
        f"{part}.{name}"
        for part, module in parts.items()
        if module is not None
        for named in (module.named_parameters, module.named_buffers)
        for name, _ in named()
    ]
