"""Time and memory of the multi-label losses, forward and backward, against binary cross-entropy.

    python benchmarks/losses.py [--json FILE] [--quick]

Time: asymmetric and selective loss against F.binary_cross_entropy_with_logits, all through torch.compile, at 128 x 80
(COCO), 32 x 1006 (NUS-WIDE) and 64 x 9605 (Open Images); the uncompiled ones are shown beside them. The selective loss
has a class prior and takes the five likeliest labels an image from the batch; two thirds of its labels are unknown.
The semantic diversity loss is held against a loop over the batch, uncompiled, at 32 images and 925 labels. The loop
takes an image's pairs of labels together; beside it stands one that takes a positive label at a time. Both sides score
the labels by one product with their vectors, which the loop does image by image; as that product is most of what the
loss takes at once, both are also timed with the scores given.

Candidates run in interleaved blocks in one process of one thread, whose allocator keeps what is freed (otherwise the
fresh pages of every step are what is timed). Times are that process's processor time. A ratio is that of medians, its
interval draws blocks in pairs.

Memory: the largest resident size of a process of its own over what it held before, at 512 x 9605; and that of the
pairs of the ranking loss, taken in parts, over the bytes of one part.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import claims
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from edgesmith.compress.asl import AsymmetricLoss
from edgesmith.compress.csl import SelectiveLoss
from edgesmith.compress.sdl import SemanticDiversityLoss, rank_loss
from edgesmith.intervals import percentile_of_blocks, ratio_of_medians
from edgesmith.models.semantic_head import label_scores
from edgesmith.results import Interval

ROOT = Path(__file__).parent.parent
SHAPES = ((128, 80), (32, 1006), (64, 9605))
KEEP = {"MALLOC_TRIM_THRESHOLD_": str(2**31), "MALLOC_MMAP_THRESHOLD_": str(2**31)}
RETURN = {"MALLOC_MMAP_THRESHOLD_": str(2**17)}  # what is freed leaves the process, so that its size says what is held
FLOAT, MIB = 4, 2**20
WIDE = (512, 9605)  # for memory: a tensor of 19 MiB stands out of a process's noise
PART = 1 << 23  # pairs taken together in the test of memory, 32 MiB
Step = Callable[[], object]


def batch(images: int, classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Logits that want a gradient, complete labels with three in a hundred there, and the same with unknown ones."""
    generator = torch.Generator().manual_seed(0)
    z = 2 * torch.randn(images, classes, generator=generator)
    y = (torch.rand(images, classes, generator=generator) < 0.03).float()
    hidden = torch.rand(images, classes, generator=generator) < 2 / 3
    return z.requires_grad_(), y, torch.where(hidden, -1.0, y)


def losses(classes: int, compiled: bool) -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    prior = torch.rand(classes, generator=torch.Generator().manual_seed(1))

    def bce(z: Tensor, y: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(z, y, reduction="sum")

    return {
        "bce": torch.compile(bce) if compiled else bce,
        "asl": AsymmetricLoss(4.0, 1.0, 0.05, compiled=compiled),
        "csl": SelectiveLoss("selective", 1.0, 0.0, 4.0, 0.0, 0.9, 5, prior=prior, compiled=compiled),
    }


def steps(shape: tuple[int, int]) -> dict[str, Step]:
    """Forward and backward of every candidate; the compiled ones are checked against the others first."""
    z, complete, partial = batch(*shape)

    def step(loss: Callable[[Tensor, Tensor], Tensor], y: Tensor) -> Tensor:
        z.grad = None
        loss(z, y).backward()
        assert z.grad is not None
        return z.grad

    found: dict[str, Step] = {}
    plain, fused = losses(shape[1], False), losses(shape[1], True)
    for name in plain:
        y = partial if name == "csl" else complete
        torch.testing.assert_close(step(fused[name], y), step(plain[name], y), atol=1e-5, rtol=1e-4)
        found[name] = lambda loss=fused[name], y=y: step(loss, y)  # type: ignore[misc]
        found[f"{name}, not compiled"] = lambda loss=plain[name], y=y: step(loss, y)  # type: ignore[misc]
    return found


def ranking_steps(given: bool) -> dict[str, Step]:
    """The semantic diversity loss at once and by loops: 32 images, 925 labels of which 8 are there, 7 rows.

    given: the part of it that follows the labels' scores.
    """
    generator = torch.Generator().manual_seed(0)
    directions = (torch.randn(32, 7, 300, generator=generator) / 17).requires_grad_()
    bank = F.normalize(torch.randn(925, 300, generator=generator), dim=1)
    y = torch.zeros(32, 925).scatter_(1, torch.rand(32, 925, generator=generator).topk(8, 1).indices, 1.0)

    source = label_scores(directions.detach(), bank).requires_grad_() if given else directions

    def step(loss: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Tensor:
        source.grad = None
        loss(source, bank, y).backward()
        assert source.grad is not None
        return source.grad

    sdl = SemanticDiversityLoss(0.3)
    found: dict[str, Callable[..., Tensor]]
    if given:
        found = {"sdl": lambda *all: sdl.ranked(*all).sum(), "sdl, image by image": ranked_loop}
    else:
        found = {
            "sdl": sdl,
            "sdl, image by image": looped,
            "sdl, label by label": functools.partial(looped, rank=rank_one_by_one),
        }
    for loss in found.values():
        torch.testing.assert_close(step(loss), step(found["sdl"]), atol=1e-5, rtol=1e-4)
    return {name: functools.partial(step, loss) for name, loss in found.items()}


def rank_pairs(scores: Tensor, there: Tensor) -> Tensor:
    """Equation (10) of one image, its pairs taken together."""
    return F.softplus(scores[~there][None, :] - scores[there][:, None]).sum() / there.sum()


def rank_one_by_one(scores: Tensor, there: Tensor) -> Tensor:
    """Equation (10) of one image, a positive label at a time."""
    absent = scores[~there]
    return torch.stack([F.softplus(absent - own).sum() for own in scores[there]]).mean()


def looped(directions: Tensor, bank: Tensor, targets: Tensor, rank: Callable[..., Tensor] = rank_pairs) -> Tensor:
    """The paper's equations, one image after the other."""
    total = directions.new_zeros(())
    for rows, labels in zip(directions, targets):
        there = labels == 1
        ranked = (1 + bank[there].var(0).sum()) * rank((rows @ bank.T).amax(0), there)
        total = total + 2 * (0.7 * ranked + 0.3 * rows.var(0).sum())
    return total / len(directions)


def ranked_loop(scores: Tensor, bank: Tensor, targets: Tensor) -> Tensor:
    """What follows the scores, one image after the other."""
    total = scores.new_zeros(())
    for own, labels in zip(scores, targets):
        there = labels == 1
        total = total + (1 + bank[there].var(0).sum()) * rank_pairs(own, there)
    return total


def timed(candidates: dict[str, Step], rounds: int, block_s: float) -> dict[str, list[list[float]]]:
    """Milliseconds of single steps, a block a round and candidate, the first one moving on."""
    sizes, names = {}, list(candidates)
    for name, step in candidates.items():
        for _ in range(3):
            step()
        started = time.process_time()
        step()
        sizes[name] = max(3, min(200, int(block_s / max(time.process_time() - started, 1e-6))))
    blocks: dict[str, list[list[float]]] = {name: [] for name in names}
    for turn in range(rounds):
        for place in range(len(names)):
            name = names[(turn + place) % len(names)]
            candidates[name]()
            block = []
            for _ in range(sizes[name]):
                started = time.process_time()
                candidates[name]()
                block.append(1000 * (time.process_time() - started))
            blocks[name].append(block)
    return blocks


def measure_time(rounds: int, block_s: float) -> dict[str, Any]:
    torch.set_num_threads(1)
    found = {f"{images} x {classes}": timed(steps((images, classes)), rounds, block_s) for images, classes in SHAPES}
    ranking = {f"32 x 925{word}": ranking_steps(bool(word)) for word in ("", " given")}
    return found | {shape: timed(candidates, rounds, block_s) for shape, candidates in ranking.items()}


def measure_memory(name: str) -> int:
    """Bytes that one step takes over what stood before it."""
    torch.set_num_threads(1)
    step = pairs() if name == "pairs" else memory_step(name)
    step()  # what is loaded and compiled on first use is not counted
    Path("/proc/self/clear_refs").write_text("5")  # the largest size starts anew
    before = status("VmRSS")
    step()
    return status("VmHWM") - before


def memory_step(name: str) -> Step:
    z, complete, partial = batch(*WIDE)
    kind, _, mode = name.partition(", ")
    loss = losses(WIDE[1], mode == "")[kind]

    def step() -> None:
        z.grad = None
        loss(z, partial if kind == "csl" else complete).backward()
        z.grad = None

    return step


def pairs() -> Step:
    """Scores of 64 images, 60 of 9,605 labels there: 37 million pairs."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(64, WIDE[1], generator=generator).requires_grad_()
    y = torch.zeros_like(scores).scatter_(1, torch.rand(scores.shape, generator=generator).topk(60, 1).indices, 1.0)

    def step() -> None:
        scores.grad = None
        rank_loss(scores, y, elements=PART).sum().backward()

    return step


def status(key: str) -> int:
    """A size of this process in bytes; Linux only."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:"))


def child(*words: str, malloc: Mapping[str, str]) -> Any:
    """What this file prints as JSON in a process of its own."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path, **malloc}
    done = subprocess.run(
        [sys.executable, __file__, *words], env=environment, check=True, capture_output=True, text=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def rows_of(times: dict[str, dict[str, list[list[float]]]]) -> list[dict[str, Any]]:
    """A row a candidate: the median of a step and its ratio to the first of its group."""
    rows = []
    for shape, blocks in times.items():
        first = next(iter(blocks))
        for name, own in blocks.items():
            median = percentile_of_blocks(own, 0.5)
            ratio = ratio_of_medians(own, blocks[first])
            rows.append({"shape": shape, "loss": name, "step_ms": _ends(median), f"over {first}": _ends(ratio)})
    return rows


def _ends(found: Interval) -> dict[str, float | None]:
    return {"value": found.value, "low": found.low, "high": found.high}


def claims_of(times: dict[str, dict[str, list[list[float]]]], ratios: Sequence[float]) -> list[claims.Claim]:
    made = []
    for images, classes in SHAPES:
        blocks = times[f"{images} x {classes}"]
        for name, word in (("asl", "ASL"), ("csl", "CSL")):
            found = ratio_of_medians(blocks[name], blocks["bce"])
            claim = f"{word} over BCE at {images} x {classes}"
            made.append(claims.make_claim("losses", claim, found, len(blocks[name])))
    blocks = times["32 x 925"]
    found = ratio_of_medians(blocks["sdl, image by image"], blocks["sdl"])
    made.append(claims.make_claim("losses", "SDL image by image over SDL at once", found, len(blocks["sdl"])))
    low, high = min(ratios), max(ratios)
    middle = Interval(float(np.median(ratios)), low, high)
    made.append(claims.make_claim("losses", "memory of the pairs over one part of them", middle, len(ratios)))
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="few short rounds: says nothing about speed")
    parser.add_argument("--time", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--memory", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.time:
        print(json.dumps(measure_time(int(options.time[0]), float(options.time[1]))))
        return
    if options.memory:
        print(json.dumps(measure_memory(options.memory)))
        return
    if not any(shutil.which(name) for name in ("g++", "c++", "clang++")):
        sys.exit("not measured: torch.compile needs a C++ compiler on a CPU, and none is here")
    rounds, block_s = ("3", "0.02") if options.quick else ("30", "0.1")
    times = child("--time", rounds, block_s, malloc=KEEP)
    rows = rows_of(times)
    for row in rows:
        over = next(key for key in row if key.startswith("over"))
        print(
            f"{row['shape']:>14}  {row['loss']:22} {row['step_ms']['value']:9.3f} ms  {row[over]['value']:7.2f} {over}"
        )
    repeats = 1 if options.quick else 5
    for name in ("bce", "asl", "csl", "bce, plain", "asl, plain", "csl, plain"):
        found = [child("--memory", name, malloc=RETURN) for _ in range(repeats)]
        rows.append({"shape": f"{WIDE[0]} x {WIDE[1]}", "loss": name, "peak_bytes": int(np.median(found))})
        tensors = rows[-1]["peak_bytes"] / (WIDE[0] * WIDE[1] * FLOAT)
        print(f"{rows[-1]['shape']:>14}  {name:22} {rows[-1]['peak_bytes'] / MIB:9.0f} MiB, {tensors:.1f} tensors")
    found = [child("--memory", "pairs", malloc=RETURN) for _ in range(max(2, repeats))]
    made = claims_of(times, [value / (PART * FLOAT) for value in found])
    print("\n".join(claims.table(made)))
    if options.json:
        claims.write_json(options.json, "losses", rows, made, ("numpy", "torch"))


if __name__ == "__main__":
    main()
