"""What test_partial_fc.py runs on several gloo processes of this machine; each scenario leaves a file a rank."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn

from edgesmith.compress.margins import MarginLogits, MarginName, make_margin
from edgesmith.compress.partial_fc import PartialFC, shard
from edgesmith.errors import EdgesmithError

CLASSES, D = 50_000, 8
KINDS: tuple[MarginName, ...] = ("arcface", "cosface", "adaface", "linear")
SIZES = {1: (7,), 2: (5, 2), 4: (3, 1, 3, 0)}  # samples of each rank: not the same, and none at all
TIME_OUT = timedelta(seconds=30)
IMPATIENT = timedelta(seconds=4)
IN = 6


def table(rows: int, seed: int) -> Tensor:
    return torch.randn(rows, D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def centres() -> Tensor:
    return table(CLASSES, 0)


def batch(sizes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """The global batch: a class twice, the first and the last class, and one at the border of two shards."""
    labels = torch.tensor([3, CLASSES - 1, 3, 25_000, 0, 24_999, 12_500])
    return 5 * table(sum(sizes), 1), labels[: sum(sizes)]


def face(kind: MarginName) -> MarginLogits:
    return MarginLogits(make_margin(kind), scale=16.0, filter_above=None if kind == "linear" else 0.9)


def mine(values: Tensor, sizes: tuple[int, ...], rank: int) -> Tensor:
    return values[sum(sizes[:rank]) : sum(sizes[: rank + 1])].clone()


def head(kind: MarginName, rank: int, world: int, **options) -> PartialFC:
    own = shard(CLASSES, rank, world)
    return PartialFC(D, CLASSES, face(kind), centres=centres()[own.start : own.stop], **options)


def full_rate(rank: int, world: int) -> dict:
    """Loss and gradients at rate 1, for every margin, learning and frozen."""
    z, labels = batch(SIZES[world])
    found = {}
    for kind in KINDS:
        for frozen in (False, True):
            made = head(kind, rank, world, frozen=frozen, averaged=False)
            own = mine(z, SIZES[world], rank).requires_grad_()
            loss = made(own, mine(labels, SIZES[world], rank))
            loss.backward()
            gradient = None if frozen else made.centres.grad
            found[f"{kind}-{frozen}"] = (loss.detach(), own.grad, gradient, dict(made.face.named_buffers()))
    found["all"] = head("linear", rank, world).all_centres()
    return found


def trained(rank: int, world: int) -> dict:
    """A net in DDP and centres beside it, three steps."""
    torch.manual_seed(0)
    net = nn.parallel.DistributedDataParallel(nn.Linear(IN, D, dtype=torch.float64))
    made = head("arcface", rank, world)
    optimizer = torch.optim.SGD([*net.parameters(), *made.parameters()], lr=0.1, momentum=0.9, weight_decay=1e-3)
    _, labels = batch(SIZES[world])
    for step in range(3):
        x = inputs(step, sum(SIZES[world]))
        optimizer.zero_grad()
        made(net(mine(x, SIZES[world], rank)), mine(labels, SIZES[world], rank)).backward()
        optimizer.step()
    return {"net": net.module.state_dict(), "centres": made.centres.detach()}


def inputs(step: int, size: int) -> Tensor:
    return torch.randn(size, IN, generator=torch.Generator().manual_seed(step), dtype=torch.float64)


def partial(rank: int, world: int) -> dict:
    """Sampled classes: which rows got a gradient, when all labels are of the first rank's classes."""
    made = head("arcface", rank, world, sample_rate=0.01)
    labels = mine(torch.tensor([7, 7, 19_000, 11, 12]), (3, 2), rank)
    loss = made(table(len(labels), 5 + rank).requires_grad_(), labels)
    loss.backward()
    return {"loss": loss.detach(), "rows": made.centres.grad.abs().sum(1).nonzero()[:, 0] + made.own.start}


def told(call: Callable[[], object]) -> str:
    try:
        call()
    except EdgesmithError as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


def faults(rank: int, world: int) -> dict:
    """What each rank says of one rank's mistake."""
    made = head("arcface", rank, world)
    good, labels = table(2, 1), torch.tensor([1, 2])
    wide, short = torch.zeros(2, D + 1, dtype=torch.float64), labels[:1]
    other = {**made.state_dict(), "_extra_state": {"classes": CLASSES, "first": 1, "rank": 1}}
    return {
        "label": told(lambda: made(good, torch.tensor([1, CLASSES + 5]) if rank == 1 else labels)),
        "negative": told(lambda: made(good, torch.tensor([-1, 1]) if rank == 0 else labels)),
        "width": told(lambda: made(wide if rank == 1 else good, labels)),
        "shape": told(lambda: made(good, short if rank == 0 else labels)),
        "empty": told(lambda: made(good[:0], labels[:0])),
        "state": told(lambda: made.load_state_dict(other)),
        "centres": told(lambda: PartialFC(D, CLASSES, face("linear"), centres=centres()[:9])),
        "still fine": told(lambda: made(good, labels)),
    }


def lost(rank: int, world: int, how: str, folder: Path) -> dict:
    """Two steps; in the second the last rank is gone, hangs, or is gone before the backward pass."""
    made = head("arcface", rank, world, group=dist.new_group(timeout=IMPATIENT))
    z, labels = table(2, 1).requires_grad_(), torch.tensor([1, 2])
    dist.barrier()
    made(z, labels).backward()
    leaves = rank == world - 1
    if leaves and how == "hangs":
        while not (folder / "0.pt").exists():
            time.sleep(0.1)
    if leaves and how != "dies in backward":
        os._exit(0)
    started = time.monotonic()
    if how == "dies in backward":
        loss = made(z, labels)
        if leaves:
            os._exit(0)
        text = told(loss.backward)
    else:
        text = told(lambda: made(z, labels))
    return {"text": text, "seconds": time.monotonic() - started}


def several(rank: int, world: int) -> dict:
    jobs = [full_rate, trained, *([partial, faults] if world == 2 else [])]
    return {job.__name__: job(rank, world) for job in jobs}


def work(rank: int, world: int, folder: str, how: str) -> None:
    torch.set_num_threads(1)
    store = f"file://{folder}/store"
    dist.init_process_group("gloo", store, TIME_OUT, world_size=world, rank=rank)
    found = lost(rank, world, how, Path(folder)) if how else several(rank, world)
    torch.save(found, Path(folder) / f"{rank}.pt")
    if how:
        os._exit(0)  # a group that lost a member may not end in order
    dist.destroy_process_group()


def run(world: int, folder: Path, how: str = "") -> list[dict | None]:
    """What each rank found; None from a rank that left nothing."""
    mp.spawn(work, (world, str(folder), how), world)
    files = [folder / f"{rank}.pt" for rank in range(world)]
    return [torch.load(file, weights_only=True) if file.exists() else None for file in files]
