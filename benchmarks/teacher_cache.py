"""What the teacher's cache saves: an epoch of distillation with it, without it, and of the student alone.

python benchmarks/teacher_cache.py [--json FILE] [--quick]

IResNet-18 teaches MobileFaceNet on 112 x 112 pictures by L2E (cross-entropy and the distance of embeddings). The three
trainings take turns, an epoch each, on the same batches with one thread; the first round is not counted. Making the
cache takes one pass of the teacher over the data, once for all trainings that share it, and is told apart.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import claims
import numpy as np
import torch

from edgesmith import intervals
from edgesmith.compress.distil import distil
from edgesmith.compress.fit import FitConfig
from edgesmith.compress.loop import Loop, opened, run_epoch, set_up
from edgesmith.compress.ranks import Ranks
from edgesmith.compress.task import Parts, Plain, Source, Task
from edgesmith.data.split import Split
from edgesmith.models import iresnet, mobilefacenet
from edgesmith.tensors import Preprocessing

CLASSES, BATCH, EMBEDDING = 10, 16, 128
PREPROCESSING = Preprocessing((112, 112), (0.5,) * 3, (0.5,) * 3)


def data(count: int) -> Split:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, 112, 112, 3)).astype(np.uint8)
    return Split({"image": images}, rng.integers(0, CLASSES, count))


def student() -> torch.nn.Module:
    return mobilefacenet.build(embedding=EMBEDDING, classes=CLASSES)[0]


def taught(cache: bool) -> Task:
    teacher = iresnet.build(depth=18, embedding=EMBEDDING, classes=CLASSES)[0]
    return distil(Parts(student(), teacher, CLASSES), ce=1.0, l2=1.0, cache=cache)


def prepared(task: Task, split: Split, config: FitConfig, folder: Path) -> tuple[Loop, float]:
    """A training ready for its first epoch, and the seconds that its preparation took."""
    loop = opened(task, split, PREPROCESSING, config, Ranks(), None)
    whole, device = loop.whole, loop.fabric.device
    source = Source(
        len(whole), whole.labels, whole.augment, "pictures", folder, device, lambda *what: whole.read(*what, device)
    )
    started = time.perf_counter()
    task.prepare(source)  # type: ignore[attr-defined]
    return set_up(loop), time.perf_counter() - started


def timed(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="two short epochs")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rounds, split = (3, data(2 * BATCH)) if options.quick else (13, data(4 * BATCH))
    config = FitConfig(epochs=rounds, batch=BATCH, lr=1e-3, threads=1, accelerator="cpu", log="none")
    tasks = {"student alone": Plain(student()), "with the cache": taught(True), "without": taught(False)}
    with tempfile.TemporaryDirectory() as folder:
        made = {name: prepared(task, split, replace(config), Path(folder)) for name, task in tasks.items()}
        times: dict[str, list[float]] = {name: [] for name in tasks}
        for index in range(rounds):
            for name, (loop, _) in made.items():
                times[name].append(timed(lambda: run_epoch(loop, index)))  # noqa: B023
    times = {name: seconds[1:] for name, seconds in times.items()}
    rows = [
        {"training": name, "epoch_s": float(np.median(seconds)), "prepared_s": made[name][1], "samples": len(split)}
        for name, seconds in times.items()
    ]
    alone = [[seconds] for seconds in times["student alone"]]
    ratios = {
        name: intervals.ratio_of_medians([[seconds] for seconds in times[name]], alone)
        for name in ("with the cache", "without")
    }
    for row in rows:
        print(f"{row['training']:15} {row['epoch_s']:8.2f} s an epoch, prepared in {row['prepared_s']:.2f} s")
    print(f"without the cache: {ratios['without'].value:.3f} of the student alone")
    rows.append({"training": "without, over the student alone", "ratio": ratios["without"]})
    claim = "an epoch with the cache over one of the student alone"
    found = [claims.make_claim("teacher_cache", claim, ratios["with the cache"], len(alone))]
    print(f"with the cache: {found[0].estimate:.3f}" if options.quick else "\n".join(claims.table(found)))
    if options.json:
        claims.write_json(options.json, "teacher_cache", rows, [] if options.quick else found, ("torch",))


if __name__ == "__main__":
    main()
