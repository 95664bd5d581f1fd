"""What the training loop costs: `fit` against a bare PyTorch loop on the same batches.

python benchmarks/fit_overhead.py [--json FILE] [--quick]

An epoch of `fit`, checkpoint and log included, and an epoch of `bare` take turns; the first pair is not counted. Epochs
are short (30 steps of the second net), so that the checkpoint weighs more than in a real training. Same
batches, optimizer, schedule and precision, one thread. First a net whose own step takes less than a millisecond: what
`fit` adds to a step. Then MobileFaceNet on 112 x 112 pictures: the share of the bare loop's pictures a second. The
intervals are bootstraps over the pairs.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import claims
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from edgesmith import intervals
from edgesmith.compress.batches import Batches, batches_of
from edgesmith.compress.fit import FitConfig, fit
from edgesmith.compress.task import Plain
from edgesmith.data.split import Split
from edgesmith.models.mobilefacenet import build
from edgesmith.tensors import Preprocessing

CLASSES = 10


@dataclass(frozen=True)
class Setting:
    """One comparison: so many pairs of epochs (the first is not counted) of so many steps."""

    name: str
    net: nn.Module
    split: Split
    preprocessing: Preprocessing | None
    batch: int
    pairs: int


class Bare:
    """The loop one would write by hand: SGD with momentum and decay, a cosine, a mean loss."""

    def __init__(self, net: nn.Module, batches: Batches, config: FitConfig) -> None:
        self.net, self.batches, self.config = net.train(), batches, config
        kernels = [p for p in net.parameters() if p.ndim > 1]
        others = [p for p in net.parameters() if p.ndim <= 1]
        groups = [{"params": kernels, "weight_decay": config.weight_decay}, {"params": others}]
        self.optimizer = torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum)

    def epoch(self, number: int) -> float:
        losses, steps = [], self.batches.steps()
        for step, batch in enumerate(self.batches.epoch(number, torch.device("cpu"))):
            progress = (number + step / steps) / self.config.epochs
            for group in self.optimizer.param_groups:
                group["lr"] = self.config.lr * 0.5 * (1 + math.cos(math.pi * progress))
            self.optimizer.zero_grad(set_to_none=True)
            loss = F.cross_entropy(self.net(*batch.inputs), batch.labels)
            loss.backward()
            self.optimizer.step()
            losses.append(loss.detach())
        return float(torch.stack(losses).mean())


def small(quick: bool) -> Setting:
    rng = np.random.default_rng(0)
    count = 32 * (100 if quick else 500)
    split = Split({"x": rng.normal(0, 1, (count, 64)).astype(np.float32)}, rng.integers(0, CLASSES, count))
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, CLASSES))
    return Setting("a net of two layers", net, split, None, 32, 5 if quick else 31)


def faces(quick: bool) -> Setting:
    rng = np.random.default_rng(0)
    count = 16 * (2 if quick else 30)
    images = rng.integers(0, 256, (count, 112, 112, 3)).astype(np.uint8)
    split = Split({"image": images}, rng.integers(0, CLASSES, count))
    preprocessing = Preprocessing((112, 112), (0.5,) * 3, (0.5,) * 3)
    return Setting("MobileFaceNet", build(classes=CLASSES)[0], split, preprocessing, 16, 3 if quick else 13)


def measure(setting: Setting) -> tuple[list[float], list[float], int]:
    """Seconds of each epoch of `fit` and of the bare loop that follows it, and the steps of an epoch."""
    config = FitConfig(epochs=setting.pairs, batch=setting.batch, lr=1e-3, threads=1, accelerator="cpu", augment="none")
    batches = batches_of(setting.split, setting.preprocessing, config.batch, config.seed, "none", False)
    ours, theirs = [], []
    state = {name: value.clone() for name, value in setting.net.state_dict().items()}
    twin = build(classes=CLASSES)[0] if setting.preprocessing else nn.Sequential(*_like(setting.net))
    twin.load_state_dict(state)
    bare = Bare(twin, batches, config)
    started = time.perf_counter()

    def turn(epoch: Any) -> None:
        nonlocal started
        ours.append(time.perf_counter() - started)
        again = time.perf_counter()
        loss = bare.epoch(epoch.epoch - 1)
        theirs.append(time.perf_counter() - again)
        if abs(loss - epoch.loss) > 1e-3 * abs(loss):  # both must have trained the same
            raise SystemExit(f"the loops differ: {epoch.loss} and {loss} in epoch {epoch.epoch}")
        started = time.perf_counter()

    with tempfile.TemporaryDirectory() as folder:
        fit(Plain(setting.net), setting.split, setting.preprocessing, config, Path(folder), turn)
    return ours[1:], theirs[1:], batches.steps()


def _like(net: nn.Module) -> list[nn.Module]:
    return [nn.Linear(m.in_features, m.out_features) if isinstance(m, nn.Linear) else nn.ReLU() for m in net.children()]


def row(setting: Setting, ours: list[float], theirs: list[float], steps: int) -> dict[str, Any]:
    def rate(times: list[float]) -> float:
        return len(setting.split) / float(np.median(times))

    return {
        "net": setting.name,
        "batch": setting.batch,
        "steps": steps,
        "pairs": len(ours),
        "bare_step_ms": 1000 * float(np.median(theirs)) / steps,
        "fit_step_ms": 1000 * float(np.median(ours)) / steps,
        "bare_samples_s": rate(theirs),
        "fit_samples_s": rate(ours),
    }


def show(found: dict[str, Any]) -> str:
    steps = f"{found['bare_step_ms']:.3f} ms a step bare, {found['fit_step_ms']:.3f} by fit"
    return f"{found['net']}: {steps}; {found['bare_samples_s']:.1f} and {found['fit_samples_s']:.1f} samples a second"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="a few short epochs")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows, found = [], []
    for make in (small, faces):
        setting = make(options.quick)
        ours, theirs, steps = measure(setting)
        rows.append(row(setting, ours, theirs, steps))
        print(show(rows[-1]), flush=True)
        if make is small:
            added = 1000 * (np.array(ours) - np.array(theirs)) / steps
            found.append(claims.make_claim("fit_overhead", "added to a step", intervals.mean(added), len(added)))
        else:  # seconds of the bare loop over ours are our pictures a second over its
            share = intervals.ratio_of_medians([[t] for t in theirs], [[t] for t in ours])
            found.append(claims.make_claim("fit_overhead", "share of the bare loop's speed", share, len(ours)))
    if options.quick:
        print(", ".join(f"{claim.claim}: {claim.estimate:.4g} {claim.unit}" for claim in found))
    else:
        print("\n".join(claims.table(found)))
    if options.json:
        packages = ("torch", "lightning-fabric")
        claims.write_json(options.json, "fit_overhead", rows, [] if options.quick else found, packages)


if __name__ == "__main__":
    main()
