"""What physical pruning saves: time and memory of a search, epoch by epoch, against the supernet that is not pruned.

python benchmarks/asap_speed.py [--json FILE] [--quick] [--data FILE.npz] [--device cuda] [--variants]

One search is run (cells on 32x32 pictures; CIFAR-10 from an npz with x_train and y_train, else made-up pictures). Then
every structure the supernet had is timed again, with the unpruned one, in interleaved blocks: one step of the weights
and one of the architecture each. An epoch's time is that of its steps at that structure; in grace there are none of the
architecture, on either side. The whole search is held against the epochs of its schedule with the unpruned supernet,
which has no early end: one operation an edge is left there only when the schedule is over and the rest is cut off. It
is held against as many epochs as the search really ran, too; an early end, which leaves the cheap epochs out, makes
that ratio worse.
Memory: what a step of the weights keeps for its backward pass, and weights, gradients and momentum (on a GPU: the
allocator's peak). --variants times the unpruned supernet in other layouts and precisions.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import claims
import numpy as np
import torch
from torch import Tensor, nn

from edgesmith.compress.asap.anneal import Annealing
from edgesmith.compress.asap.cells import CellSpace
from edgesmith.compress.asap.methods import search
from edgesmith.compress.asap.search import Rules, Search
from edgesmith.compress.fit import FitConfig, FitResult, fit
from edgesmith.compress.optimizer import make_optimizer
from edgesmith.compress.task import Batch, Parts, Phase
from edgesmith.data.split import Split
from edgesmith.intervals import ratio_of_medians
from edgesmith.results import Interval
from edgesmith.tensors import Preprocessing

MIB = 2**20
CLASSES = 10


@dataclass(frozen=True)
class Setting:
    """The search: `samples` are halved for weights and architecture.

    16 epochs at 0.85 cool as far as the paper's 50 at 0.95, and 3 of them are grace as 10 are there. An epoch has 10
    steps and not 390, and cools three times as much, so alphas move faster: 3e-4 * 39 * 3.2 = 0.037. 0.06 was chosen
    after trials, as less of the search is then spent on the full supernet; 0.02 and 0.037 came to 0.73 and 0.72 of as
    many epochs of the unpruned supernet, 0.06 to 0.54 and 0.66. Two and four times the samples, 0.12, and cooling by
    0.88 or 0.9 came to 0.57 to 0.68: what decides is how much of the schedule lies above the temperature at which
    weights part.
    """

    channels: int = 8
    cells: int = 3
    side: int = 32
    samples: int = 320
    batch: int = 16
    epochs: int = 16
    cooling: float = 0.85
    alpha_lr: float = 0.06
    blocks: int = 12
    device: str = "cpu"
    seed: int = 0

    @property
    def steps(self) -> int:
        """Steps an epoch of each phase."""
        return self.samples // 2 // self.batch


QUICK = Setting(channels=2, side=16, samples=64, batch=8, epochs=12, cooling=0.5, alpha_lr=0.1, blocks=2)


@dataclass(frozen=True)
class Structure:
    """The supernet as it was in some epochs, with the times of its steps in each block, in ms."""

    supernet: nn.Module
    operations: int
    memory_bytes: int
    weights_ms: list[float]
    architecture_ms: list[float]


def pictures(path: Path | None, setting: Setting) -> Split:
    """CIFAR-10 from an npz, or made-up pictures of ten classes: a coloured stripe a class, in noise."""
    rng = np.random.default_rng(setting.seed)
    if path is not None:
        with np.load(path) as file:
            images, labels = file["x_train"], file["y_train"]
        rows = rng.permutation(len(images))[: setting.samples]
        return Split({"image": images[rows, : setting.side, : setting.side]}, labels[rows].astype(np.int64))
    labels = np.arange(setting.samples) % CLASSES
    images = rng.integers(0, 160, (setting.samples, setting.side, setting.side, 3))
    width = setting.side // 5
    for image, label in zip(images, labels):
        image[:, label % 5 * width : (label % 5 + 1) * width, label // 5] += 90
    return Split({"image": images.astype(np.uint8)}, labels)


def run_search(split: Split, setting: Setting) -> tuple[Search, FitResult, list[nn.Module]]:
    """The search, and its supernet before every epoch."""
    space = CellSpace(CLASSES, setting.channels, setting.cells, seed=setting.seed)
    rules = Rules(Annealing(factor=setting.cooling))
    task = search(Parts(space.supernet(), None, CLASSES), rules, alpha_lr=setting.alpha_lr)
    before = [copy.deepcopy(task.supernet)]

    def report(epoch: Any) -> None:
        before.append(copy.deepcopy(task.supernet).cpu())
        row = task.history[-1]
        print(f"epoch {epoch.epoch:>2} {epoch.seconds:7.2f} s  T {row.temperature:.3f}  {row.operations:>3} operations")

    preprocessing = Preprocessing((setting.side,) * 2, (0.5,) * 3, (0.25,) * 3)
    config = FitConfig(
        epochs=setting.epochs, batch=setting.batch, seed=setting.seed, threads=1, accelerator=setting.device
    )
    with tempfile.TemporaryDirectory() as folder:
        result = fit(task, split, preprocessing, config, Path(folder), report)
    return task, result, before[:-1]


def structures(task: Search, before: list[nn.Module], setting: Setting) -> tuple[list[Structure], list[int]]:
    """The different structures in the order of the search, and which of them each epoch had."""
    found: list[Structure] = []
    of_epoch: list[int] = []
    for epoch, supernet in enumerate(before):
        alive = 28 * len(CellSpace(CLASSES).operations) if epoch == 0 else task.history[epoch - 1].operations
        if not found or found[-1].operations != alive:
            memory = step_memory(task_of(supernet, task, setting), setting)
            found.append(Structure(supernet, alive, memory, [], []))
        of_epoch.append(len(found) - 1)
    return found, of_epoch


def task_of(supernet: nn.Module, like: Search, setting: Setting) -> Search:
    weights, architecture = (phase.optimizer for phase in like.phases)
    assert weights is not None and architecture is not None
    return Search(copy.deepcopy(supernet), like.rules, weights, architecture).to(setting.device).train()


def a_batch(setting: Setting) -> Batch:
    torch.manual_seed(0)
    x = torch.randn(setting.batch, 3, setting.side, setting.side, device=setting.device)
    return Batch((x,), torch.arange(setting.batch, device=setting.device) % CLASSES)


def stepper(task: Search, phase: Phase, batch: Batch) -> Callable[[], object]:
    """One step of a phase, forward to optimizer."""
    assert phase.optimizer is not None
    optimizer = make_optimizer(phase.parameters(), phase.optimizer)

    def step() -> None:
        loss = task.step(batch, phase).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def step_memory(task: Search, setting: Setting) -> int:
    """Bytes a step of the weights takes."""
    batch, phase = a_batch(setting), task.phases[0]
    if setting.device == "cuda":
        step = stepper(task, phase, batch)
        step()
        torch.cuda.reset_peak_memory_stats()
        step()
        return torch.cuda.max_memory_allocated()
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    parameters = sum(p.numel() * p.element_size() for p in task.parameters())
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = task.step(batch, phase).loss
    own = {p.untyped_storage().data_ptr() for p in task.parameters()}
    del loss
    return 3 * parameters + sum(size for pointer, size in kept.items() if pointer not in own)


def timed(step: Callable[[], object], setting: Setting) -> float:
    """Milliseconds of one step."""
    synchronise = torch.cuda.synchronize if setting.device == "cuda" else lambda: None
    synchronise()
    started = time.perf_counter()
    step()
    synchronise()
    return 1000 * (time.perf_counter() - started)


def time_structures(found: list[Structure], like: Search, setting: Setting) -> None:
    """Fill in the times, block by block over all structures; the first step of a structure in a block is not timed."""
    batch = a_batch(setting)
    tasks = [task_of(structure.supernet, like, setting) for structure in found]
    steps = [[stepper(task, phase, batch) for phase in task.phases] for task in tasks]
    for _ in range(setting.blocks):
        for structure, (weights, architecture) in zip(found, steps):
            weights()
            structure.weights_ms.append(timed(weights, setting))
            structure.architecture_ms.append(timed(architecture, setting))


def epoch_ms(structure: Structure, grace: bool, steps: int) -> list[float]:
    """An epoch's time by each block."""
    architecture = [0.0] * len(structure.weights_ms) if grace else structure.architecture_ms
    return [steps * (w + a) for w, a in zip(structure.weights_ms, architecture)]


def ratio(top: list[float], bottom: list[float]) -> Interval:
    """Ratio of medians over interleaved blocks."""
    return ratio_of_medians([[value] for value in top], [[value] for value in bottom])


def totals(epochs: list[list[float]]) -> list[float]:
    return [sum(times) for times in zip(*epochs, strict=True)]


def found_claims(task: Search, own: list[list[float]], full: list[list[float]], memory: list[int]) -> list[Any]:
    """The claims of a search that came to its end."""
    first = next(index for index, row in enumerate(task.history) if not row.grace)
    shrunk = memory[-1] / memory[first]
    found = {
        "last epoch against the first after grace": ratio(own[-1], own[first]),
        "search against its schedule with the unpruned supernet": ratio(totals(own), totals(full)),
        "search against as many epochs of the unpruned supernet": ratio(totals(own), totals(full[: len(own)])),
        "memory of the last epoch against the first after grace": Interval(shrunk, shrunk, shrunk),
    }
    counts = (len(own[0]),) * 3 + (1,)
    return [claims.make_claim("asap_speed", name, at, n) for (name, at), n in zip(found.items(), counts, strict=True)]


def variants(setting: Setting) -> Iterator[dict[str, Any]]:
    """The unpruned supernet in other layouts and precisions, interleaved."""
    task = search(Parts(CellSpace(CLASSES, setting.channels, setting.cells).supernet(), None, CLASSES), Rules())
    made: dict[str, tuple[Search, Batch, torch.dtype | None]] = {}
    for layout in (torch.contiguous_format, torch.channels_last):
        for dtype in (None, torch.bfloat16):
            own = task_of(task.supernet, task, setting).to(memory_format=layout)
            batch = a_batch(setting)
            batch = Batch((batch.inputs[0].contiguous(memory_format=layout),), batch.labels)
            made[f"{layout} {dtype or torch.float32}".replace("torch.", "")] = (own, batch, dtype)
    steps = {name: stepper(own, own.phases[0], batch) for name, (own, batch, _) in made.items()}
    times: dict[str, list[float]] = {name: [] for name in made}
    for block in range(setting.blocks + 1):
        for name, step in steps.items():
            with torch.autocast(setting.device, made[name][2], enabled=made[name][2] is not None):
                took = timed(step, setting)
            if block:
                times[name].append(took)
    for name, values in times.items():
        yield {"kind": "variant", "variant": name, "weights_ms": statistics.median(values)}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="a tiny search, to try it")
    parser.add_argument("--data", type=Path, help="npz with x_train (N, 32, 32, 3) uint8 and y_train")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--variants", action="store_true")
    return parser.parse_args()


def epoch_rows(
    task: Search, result: FitResult, at: list[Structure], own: list[list[float]], full: list[list[float]]
) -> list[dict[str, Any]]:
    """What the table shows: one row an epoch, `at` being the structure it had."""
    return [
        {
            "kind": "epoch",
            "epoch": row.epoch,
            "grace": row.grace,
            "temperature": row.temperature,
            "operations": at[index].operations,
            "epoch_ms": statistics.median(own[index]),
            "unpruned_ms": statistics.median(full[index]),
            "wall_s": result.history[index].seconds,
            "memory_mib": at[index].memory_bytes / MIB,
        }
        for index, row in enumerate(task.history)
    ]


def show(row: dict[str, Any]) -> str:
    if row["kind"] == "variant":
        return f"{row['variant']:<35} {row['weights_ms']:9.1f} ms"
    times = f"{row['epoch_ms']:9.1f} ms (unpruned {row['unpruned_ms']:9.1f})"
    return f"{row['epoch']:>3} {row['operations']:>4} operations {times} {row['memory_mib']:8.1f} MiB"


def main() -> None:
    options = arguments()
    torch.set_num_threads(1)
    setting = replace(QUICK if options.quick else Setting(), device=options.device)
    task, result, before = run_search(pictures(options.data, setting), setting)
    found, of_epoch = structures(task, before, setting)
    time_structures(found, task, setting)
    at, grace = [found[number] for number in of_epoch], task.rules.annealing.in_grace
    own = [epoch_ms(structure, grace(epoch), setting.steps) for epoch, structure in enumerate(at)]
    full = [epoch_ms(found[0], grace(epoch), setting.steps) for epoch in range(setting.epochs)]
    rows = epoch_rows(task, result, at, own, full)
    rows += variants(setting) if options.variants else []
    print("\n".join(show(row) for row in rows))
    print("finished early" if result.finished_early else "what was open at the last epoch is forced")
    made = found_claims(task, own, full, [structure.memory_bytes for structure in at])
    print("\n".join(claims.table(made)))
    if options.json:
        data = {"kind": "setting", **asdict(setting), "cifar10": options.data is not None}
        data |= {"finished_early": result.finished_early, "forced": task.forced}
        claims.write_json(options.json, "asap_speed", [data, *rows], [] if options.quick else made)


if __name__ == "__main__":
    main()
