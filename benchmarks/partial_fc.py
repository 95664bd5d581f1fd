"""Time and memory of one training step of partial FC against the number of classes, and what that means at scale.

python benchmarks/partial_fc.py [--json FILE] [--quick]

Measured: one process, one thread, ArcFace, each row in a process of its own; the time is of forward, backward and SGD
with momentum (median, fastest and slowest step); memory is the peak resident size less what a tiny head took before.
On paper: bytes a rank of 10^7 to 10^8 classes on 8 to 64 GPUs. The same arithmetic stands beside every measured row.
The net itself, its activations and the communication buffers of the driver are in neither. Tables below 32 MiB come
from the heap, which keeps what is freed: there the measured peak lies above the paper's.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import claims
import torch

from edgesmith.compress.margins import MarginLogits, arcface
from edgesmith.compress.partial_fc import PartialFC, sgd_rows

FLOAT = 4  # bytes of an fp32 number
MIB, GIB = 2**20, 2**30
LR, MOMENTUM = 0.1, 0.9
WARM_UP = 2  # steps: momentum is made, pages are touched
BATCH_A_GPU = 64
ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Setting:
    """What a step is made of; `batch` is that of all ranks together, `sparse` the gradient of the centres."""

    classes: int
    rate: float
    sparse: bool
    batch: int = 64
    embedding: int = 128
    steps: int = 10


def on_paper(setting: Setting, world: int) -> dict[str, int]:
    """Bytes a rank: n = C / W rows are here, k = r n take part, B is the global batch, d the embedding.

    centres, momentum    n d each
    saved                k d: rows of length 1; and k d: the picked rows, if r < 1
    tables               2 k B: logits and probabilities, then probabilities and their gradient
    gradients            2 k d: that of the rows of length 1, and that of the rows;
                         and n d, if r < 1 and the gradient of the centres is dense
    gathered             2 B d: embeddings of all ranks, and their gradient
    peak                 centres + momentum + saved + gathered + the larger of tables and gradients,
                         as the tables are gone when the rows' gradient is made
    """
    own = setting.classes // world
    part = int(own * setting.rate)
    row, every = part * setting.embedding * FLOAT, own * setting.embedding * FLOAT
    partial = setting.rate < 1
    found = {
        "centres": every,
        "momentum": every,
        "saved": 2 * row if partial else row,
        "tables": 2 * part * setting.batch * FLOAT,
        "gradients": 2 * row + (every if partial and not setting.sparse else 0),
        "gathered": 2 * setting.batch * setting.embedding * FLOAT,
    }
    lasting = sum(found[name] for name in ("centres", "momentum", "saved", "gathered"))
    return {**found, "peak": lasting + max(found["tables"], found["gradients"])}


def measure(setting: Setting) -> dict[str, Any]:
    """Step times in seconds and peak bytes, in this process."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    run(Setting(1000, setting.rate, setting.sparse, 8, 8, 1))  # what is loaded on first use is not counted
    before = resident()
    times = run(setting)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"step_s": times, "peak_bytes": peak - before}


def run(setting: Setting) -> list[float]:
    face = MarginLogits(arcface())
    head = PartialFC(setting.embedding, setting.classes, face, setting.rate, sparse=setting.sparse)
    update = updater(head, setting.sparse)
    times = []
    for _ in range(setting.steps + WARM_UP):
        z = torch.randn(setting.batch, setting.embedding, requires_grad=True)
        labels = torch.randint(setting.classes, (setting.batch,))
        started = time.perf_counter()
        head.centres.grad = None
        head(z, labels).backward()
        update()
        times.append(time.perf_counter() - started)
    return times[WARM_UP:]


def updater(head: PartialFC, sparse: bool) -> Callable[[], object]:
    if not sparse:
        return torch.optim.SGD([head.centres], lr=LR, momentum=MOMENTUM).step
    velocity = torch.zeros_like(head.centres)
    return lambda: sgd_rows(head.centres, velocity, LR, MOMENTUM)


def resident() -> int:
    """Bytes of memory this process holds; Linux only."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def measured(setting: Setting) -> dict[str, Any]:
    """One row, from a process of its own."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    command = [sys.executable, __file__, "--measure", json.dumps(asdict(setting))]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout)
    times = [1000 * seconds for seconds in found["step_s"]]
    row = {"kind": "measured", **asdict(setting), "peak_bytes": found["peak_bytes"]}
    row.update(step_ms=statistics.median(times), fastest_ms=min(times), slowest_ms=max(times))
    return {**row, "paper_bytes": on_paper(setting, 1)["peak"]}


def projected(classes: int, world: int, rate: float) -> dict[str, Any]:
    setting = Setting(classes, rate, rate < 1, BATCH_A_GPU * world)
    words = {"classes": classes, "gpus": world, "rate": rate, "sparse": setting.sparse, "batch": setting.batch}
    return {"kind": "paper", **words, "embedding": setting.embedding, **on_paper(setting, world)}


def settings(quick: bool) -> list[Setting]:
    """Rate 1, rate 0.1 with a dense and with a sparse gradient; and a batch at which the tables are the most."""
    found = []
    for classes, steps in ((10_000, 50), (100_000, 20), (1_000_000, 7)):
        for rate, sparse in ((1.0, False), (0.1, False), (0.1, True)):
            found.append(Setting(classes, rate, sparse, steps=steps))
    if quick:
        return found[:6]
    return [*found, Setting(1_000_000, 1.0, False, 512, steps=3), Setting(1_000_000, 0.1, True, 512, steps=7)]


def show_measured(row: dict[str, Any]) -> str:
    gradient = "sparse" if row["sparse"] else "dense"
    times = f"{row['step_ms']:9.1f} ({row['fastest_ms']:.1f} to {row['slowest_ms']:.1f})"
    memory = f"{row['peak_bytes'] / MIB:9.0f} {row['paper_bytes'] / MIB:9.0f}"
    return f"{row['classes']:>10} {row['rate']:>5} {gradient:>6} {row['batch']:>6} {memory}   {times}"


def show_paper(rows: Sequence[dict[str, Any]]) -> list[str]:
    names = ("centres", "momentum", "saved", "tables", "gradients", "gathered", "peak")
    lines = [f"{'classes':>10} {'GPUs':>5} {'rate':>5} {'batch':>6} " + " ".join(f"{name:>9}" for name in names)]
    for row in rows:
        start = f"{row['classes']:>10} {row['gpus']:>5} {row['rate']:>5} {row['batch']:>6} "
        lines.append(start + " ".join(f"{row[name] / GIB:9.3f}" for name in names))
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="up to 100,000 classes")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(Setting(**json.loads(options.measure)))))
        return
    print(f"{'classes':>10} {'rate':>5} {'grad':>6} {'batch':>6} {'peak MiB':>9} {'paper MiB':>9}   ms a step")
    rows = []
    for setting in settings(options.quick):
        rows.append(measured(setting))
        print(show_measured(rows[-1]), flush=True)
    sizes = [(c, w, r) for c in (10**7, 3 * 10**7, 10**8) for w in (8, 16, 32, 64) for r in (1.0, 0.1)]
    paper = [projected(*size) for size in sizes]
    about = f"d = 128, {BATCH_A_GPU} samples a GPU, fp32"
    print(f"\nOn paper, GiB a GPU ({about}):\n{on_paper.__doc__}")
    print("\n".join(show_paper(paper)))
    if options.json:
        claims.write_json(options.json, "partial_fc", [*rows, *paper], [], ("torch",))


if __name__ == "__main__":
    main()
