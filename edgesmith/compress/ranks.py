"""The processes that train together: who they are, what they tell one another, and what happens when one is gone.

Works on one process without torch.distributed being initialised. A rank that dies makes the others raise at once, a
rank that hangs makes them raise within the time-out of the process group.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from edgesmith.errors import TrainingFailed, UsageError

ADVICE = "look at the logs of the other ranks; the time-out is the one given to init_process_group (fit: timeout_s)"
TIMEOUT_S = 1800.0
_LOST = ("gloo", "nccl", "connection closed", "timed out", "connection reset", "broken pipe")


@dataclass(frozen=True)
class Ranks:
    """The processes of a group, seen from one of them."""

    rank: int = 0
    world: int = 1
    group: Any = None

    def sum(self, values: Tensor) -> None:
        """Replace values by their sum over the ranks. Raises: TrainingFailed."""
        self._reduce(values, dist.ReduceOp.SUM)

    def max(self, values: Tensor) -> None:
        """Replace values by their maximum over the ranks. Raises: TrainingFailed."""
        self._reduce(values, dist.ReduceOp.MAX)

    def gather(self, values: Tensor) -> list[Tensor]:
        """The values of all ranks, which have one shape, in the order of the ranks. Raises: TrainingFailed."""
        if self.world == 1:
            return [values]
        out = [torch.empty_like(values) for _ in range(self.world)]
        with self._failing("all-gather"):
            dist.all_gather(out, values.contiguous(), group=self.group)
        return out

    def gather_rows(self, values: Tensor, sizes: tuple[int, ...]) -> Tensor:
        """All ranks' rows one after the other; `sizes` says how many each has. Raises: TrainingFailed."""
        most = max(sizes)
        padded = values.new_zeros((most, *values.shape[1:]))
        padded[: len(values)] = values
        return torch.cat([part[:size] for part, size in zip(self.gather(padded), sizes)])

    def spread(self, values: Tensor) -> None:
        """Replace values by those of rank 0. Raises: TrainingFailed."""
        if self.world > 1:
            with self._failing("broadcast"):
                dist.broadcast(values, 0 if self.group is None else dist.get_global_rank(self.group, 0), self.group)

    def numbers(self, *values: float) -> list[list[float]]:
        """A few numbers of each rank, on every rank; also a point where all wait for all. Raises: TrainingFailed."""
        return [row.tolist() for row in self.gather(torch.tensor(values, dtype=torch.float64, device=self._device()))]

    def tell(self, value: int) -> int:
        """Rank 0's number, on every rank. Raises: TrainingFailed."""
        return int(self.numbers(value)[0][0])

    def same(self, asked: str, text: str) -> None:
        """Raise UsageError, on every rank, when the ranks do not all bring the same text."""
        own = hashlib.sha256(text.encode()).digest()[:24]
        told = self.numbers(*(int.from_bytes(own[at : at + 6], "big") for at in range(0, 24, 6)))
        if other := [rank for rank, row in enumerate(told) if row != told[0]]:
            found = f"ranks {other} were given something else than rank 0"
            raise UsageError(asked, found, "start every process with the same recipe, options, data and versions")

    @contextmanager
    def first(self) -> Iterator[None]:
        """Rank 0 goes through the block before the others do. Raises: TrainingFailed."""
        if self.rank > 0:
            self.numbers(0)
        yield
        if self.rank == 0:
            self.numbers(0)

    @contextmanager
    def watched(self, asked: str) -> Iterator[None]:
        """Say what it was when other ranks were lost in the block, also in a backward pass. Raises: TrainingFailed."""
        try:
            yield
        except RuntimeError as error:
            if self.world == 1 or not _lost(error):
                raise
            raise _gone(f"{asked} on rank {self.rank} of {self.world}", error) from error

    def _device(self) -> torch.device:
        gloo = self.world == 1 or "gloo" in str(dist.get_backend_config(self.group))
        return torch.device("cpu" if gloo else "cuda")

    def _reduce(self, values: Tensor, how: Any) -> None:
        if self.world > 1:
            with self._failing("all-reduce"):
                dist.all_reduce(values, how, group=self.group)

    @contextmanager
    def _failing(self, what: str) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:  # what gloo and NCCL raise for a lost peer and for a time-out
            raise _gone(f"{what} on rank {self.rank} of {self.world}", error) from error


def _gone(asked: str, error: RuntimeError) -> TrainingFailed:
    return TrainingFailed(asked, f"it failed, as when another rank is gone or hangs ({str(error)[:200]})", ADVICE)


def _lost(error: RuntimeError) -> bool:
    words = str(error).lower()
    return isinstance(error, dist.DistError) or any(word in words for word in _LOST)


def ranks(group: Any = None) -> Ranks:
    """The ranks of a process group; without torch.distributed, this process alone."""
    if not dist.is_available() or not dist.is_initialized():
        return Ranks()
    return Ranks(dist.get_rank(group), dist.get_world_size(group), group)


def launched() -> bool:
    """Whether torchrun started this process as one of several."""
    return dist.is_available() and dist.is_torchelastic_launched() and int(os.environ.get("WORLD_SIZE", "1")) > 1


def start(timeout_s: float = TIMEOUT_S) -> Ranks:
    """Join the processes that torchrun started with this one; without torchrun, this process alone.

    timeout_s: how long to wait for a rank that hangs, or for what rank 0 does alone. Raises: TrainingFailed.
    """
    if launched() and not dist.is_initialized():
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        try:
            dist.init_process_group(timeout=timedelta(seconds=timeout_s))  # gloo, and nccl where there are GPUs
        except (RuntimeError, ValueError) as error:
            raise _gone("join the other processes", RuntimeError(str(error))) from error
    return ranks()


@contextmanager
def together(timeout_s: float = TIMEOUT_S) -> Iterator[Ranks]:
    """Join the others for a block; what this process does after it, it does alone. Raises: TrainingFailed."""
    joined = dist.is_available() and dist.is_initialized()
    try:
        yield start(timeout_s)
    finally:
        if not joined and dist.is_available() and dist.is_initialized():
            dist.destroy_process_group()
