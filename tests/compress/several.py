"""What test_engine.py runs on two gloo processes, started as torchrun starts them; each leaves a file."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.multiprocessing as mp
from torch import Tensor, nn

from edgesmith.compress.distil import distil
from edgesmith.compress.fit import FitConfig, FitResult, fit
from edgesmith.compress.head_sharing import th_kd
from edgesmith.compress.margin_softmax import margin
from edgesmith.compress.ranks import ranks, together
from edgesmith.compress.task import Parts, Phase, Plain, StepOutput
from edgesmith.data.split import Split
from edgesmith.errors import EdgesmithError
from tests.compress.test_phases import Search, Stop, numbers
from tests.compress.training import PREPROCESSING, images, net

CLASSES = 5  # two for the first rank, three for the second
CONFIG = FitConfig(epochs=3, batch=8, lr=0.1, seed=3, clip=0.5, ema=0.9, threads=1, accelerator="cpu", timeout_s=60)
SEARCH = replace(CONFIG, batch=4, schedule="constant")


class Smooth(nn.Module):
    """A net without batch norm, so that samples do not see one another."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 4))
        self.head = nn.Linear(4, CLASSES)
        self.embedding = 4

    def embed(self, x: Tensor) -> Tensor:
        return self.body(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.embed(x))


def samples(count: int = 44) -> Split:
    labels = np.arange(count) % CLASSES
    noise = np.random.default_rng(0).normal(0, 1, (count, 6)).astype(np.float32)
    return Split({"x": noise + labels[:, None].astype(np.float32)}, labels)


def faces(rate: float = 1.0):
    """Margin softmax; the centres are the same ones, however many processes hold them."""
    task = margin(Parts(Smooth(), None, CLASSES), "cosface", scale=8.0, sample_rate=rate, deploy_head=True)
    table = torch.randn(CLASSES, 4, generator=torch.Generator().manual_seed(1))
    own = task.centres.own
    task.centres.centres.data.copy_(table[own.start : own.stop])
    return task


def told(call: Callable[[], object]) -> str:
    try:
        call()
    except EdgesmithError as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


def found(task: Any, result: FitResult) -> dict[str, Any]:
    return {"net": task.deployable().state_dict(), "losses": [e.loss for e in result.history]}


def same_as_one(folder: Path) -> dict[str, Any]:
    """Trainings that must not depend on how many processes there are."""
    plain, centres, search = Plain(Smooth()), faces(), Search()
    first = fit(plain, samples(), None, CONFIG, folder / "plain")
    second = fit(centres, samples(), None, CONFIG, folder / "faces")
    third = fit(search, numbers(33), None, SEARCH, folder / "search")
    searched = {"net": search.state_dict(), "losses": [e.loss for e in third.history]}
    return {"plain": found(plain, first), "faces": found(centres, second), "search": searched}


def interrupted(task: Any) -> Any:
    """The task, stopped on every rank at the end of the second epoch, after one checkpoint."""
    whole = task.epoch_end

    def epoch_end(epoch: int) -> None:
        if epoch == 1:
            raise Stop
        whole(epoch)

    task.epoch_end = epoch_end
    return task


def resumed(folder: Path) -> dict[str, bool]:
    """Whether a training cut after an epoch ends with the same bits, on this rank."""
    same = {}
    for name, make in {"faces": lambda: faces(0.7), "search": lambda: Search(4), "distil": distilling}.items():
        split, preprocessing = (numbers(33), None) if name == "search" else (samples(), None)
        if name == "distil":
            split, preprocessing = images(), PREPROCESSING
        config = replace(SEARCH if name == "search" else CONFIG, optimizer="adamw", epochs=4)
        whole, cut, rest = make(), interrupted(make()), make()
        fit(whole, split, preprocessing, config, folder / f"{name}-whole")
        with contextlib.suppress(Stop):
            fit(cut, split, preprocessing, config, folder / f"{name}-cut")
        result = fit(rest, split, preprocessing, config, folder / f"{name}-cut")
        a, b = whole.state_dict(), rest.state_dict()
        same[name] = result.resumed_from == 1 and all(equal(a[key], b[key]) for key in {*a, *b})
    return same


def equal(a: Any, b: Any) -> bool:
    return torch.equal(a, b) if isinstance(a, Tensor) else a == b


def distilling():
    """Batch norm, a projector that is aligned with the first batch, a teacher asked once, and a memory bank."""
    return distil(Parts(net(4, 0), net(6, 1), 3), kd=1.0, th=0.5, crd=0.1, cache=True, crd_dim=4, crd_negatives=6)


class Odd(nn.Module):
    """Its second rank does what it should not, in the third step."""

    def __init__(self, how: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net, self.how, self.count = nn.Linear(6, 1), how, 0
        self.phases = (Phase("p", "train", self.net.parameters),)

    def step(self, batch, phase) -> StepOutput:
        self.count += 1
        wrong = self.count == 3 and ranks().rank == 1
        if wrong and self.how == "dies":
            os._exit(0)
        if wrong and self.how == "drifts":
            with torch.no_grad():
                self.net.bias.add_(1.0)
        loss = self.net(batch.inputs[0]).square().mean() * (float("nan") if wrong and self.how == "nan" else 1.0)
        terms = {"gap": loss.detach()} | ({"more": loss.detach()} if self.how == "terms" and ranks().rank else {})
        return StepOutput(loss, terms, len(batch) - (wrong and self.how == "size"))

    def epoch_end(self, epoch: int) -> None:
        pass


def faults(folder: Path) -> dict[str, str]:
    """What each rank says of one rank's mistake."""
    config = replace(CONFIG, epochs=1, ema=None, clip=None)
    rank = ranks().rank

    def train(task: Any, **changes: Any) -> str:
        return told(lambda: fit(task, samples(), None, replace(config, **changes), folder / "faults"))

    said = {how: train(Odd(how)) for how in ("nan", "size", "drifts", "terms")}
    said["settings"] = train(Plain(Smooth()), lr=0.1 + rank)
    said["data"] = told(lambda: fit(Plain(Smooth()), samples(44 + rank), None, config, folder / "faults"))
    said["batch"] = train(Plain(Smooth()), batch=9)
    said["sync_bn"] = train(Plain(Smooth()), sync_bn=True)
    said["still fine"] = train(Plain(Smooth()))
    return said


def norms(folder: Path) -> dict[str, Any]:
    """Batch norm and flipped pictures: every rank ends with the same net, and one file was written."""
    task = th_kd(Parts(net(4, 0), net(6, 1), 3))
    reported: list[int] = []
    config = replace(CONFIG, augment="flip+shift")
    fit(task, images(), PREPROCESSING, config, folder / "norms", lambda epoch: reported.append(epoch.epoch))
    return {"net": task.student.state_dict(), "reported": reported}


def lost(folder: Path, how: str) -> dict[str, Any]:
    """The second rank is gone in the middle of an epoch."""
    started = time.monotonic()
    text = told(lambda: fit(Odd(how), samples(), None, replace(CONFIG, ema=None, timeout_s=20), folder / "lost"))
    return {"text": text, "seconds": time.monotonic() - started}


def work(rank: int, world: int, folder: str, how: str, port: int) -> None:
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world), LOCAL_WORLD_SIZE=str(world), GROUP_RANK="0",
        MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), TORCHELASTIC_RUN_ID="tests",
    )  # fmt: skip
    torch.set_num_threads(1)
    where = Path(folder)
    if how:
        torch.save(lost(where, how), where / f"{rank}.pt")
        os._exit(0)  # a group that lost a member may not end in order
    with together():
        told_of = {job.__name__: job(where) for job in (same_as_one, resumed, faults, norms)}
    torch.save(told_of, where / f"{rank}.pt")


def run(folder: Path, how: str = "") -> list[dict[str, Any] | None]:
    """What each rank found; None from a rank that left nothing."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(work, (2, str(folder), how, port), 2)
    files = [folder / f"{rank}.pt" for rank in range(2)]
    return [torch.load(file, weights_only=True) if file.exists() else None for file in files]
