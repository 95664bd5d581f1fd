"""Is the search worth its cost? ASAP against the best of N random networks of the same latency and training cost.

    python benchmarks/asap_cifar.py --data cifar10.npz [--seeds 5] [--work DIR] [--json FILE] [--quick]

Reduced: a chain of six layers at 32x32, 3,000 training pictures of CIFAR-10. A seed: one search (weights on one half,
choices on the other, the latency term at the middle of the space); then random networks whose latency by the same
measured table is closest to that of the network found, each trained on the first half and judged on the second, until
they have cost as many seconds as the search (one thread, a quiet machine). The network found, the best random one and
the first random one (best of 1) are then trained anew, alike, on all pictures, and judged once on 5,000 test pictures.
Their latency is measured side by side. Intervals are 95 % by Student's t over paired seeds: five of them find
differences of a point or more, not less. Each seed's result lies in --work, and a run that was cut goes on from there.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import claims
import numpy as np
import torch
from scipy import stats
from torch import nn

from edgesmith import records
from edgesmith.compress.asap.chain import ChainSpace, chain_space
from edgesmith.compress.asap.latency import LatencyTable
from edgesmith.compress.asap.methods import asap
from edgesmith.compress.fit import FitConfig, fit
from edgesmith.compress.task import Parts, plain
from edgesmith.data.digits import load
from edgesmith.data.split import Split
from edgesmith.devices.local import LocalDevice
from edgesmith.metrics import top1
from edgesmith.models.chain_net import Frame
from edgesmith.models.genotype import Genotype
from edgesmith.pipeline.latency_table import Bench, Measuring, measured_table, time_networks
from edgesmith.results import Interval
from edgesmith.tensors import Preprocessing, TensorSpec

SIDE, CLASSES, TRAIN, TEST = 32, 10, 3000, 5000
PREPROCESSING = Preprocessing((SIDE, SIDE), (0.5,) * 3, (0.5,) * 3)
STAGES = ((24, 2, 1), (48, 2, 2), (96, 2, 2))
FRAME = Frame(SIDE, stem=16, stem_stride=2, stages=STAGES, last=128, embedding=64, act="relu")
OPERATIONS = ("mb-k3-e2-relu", "mb-k3-e4-relu", "mb-k5-e4-relu", "conv-k3-relu", "identity")
TARGET, COOLING, NEAREST = "ort-int8", 0.87, 200
SEARCH = FitConfig(epochs=20, batch=64, augment="flip+shift", channels_last=True, threads=1)
TRIAL = replace(SEARCH, epochs=12, lr=0.1)  # how a random network is judged
FINAL = replace(SEARCH, epochs=30, lr=0.1)
NAMES = {"asap": "network found", "random": "best of N random", "one": "one random"}
Row = dict[str, Any]


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory() as folder:
        work = options.work or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        train, test = pictures(options.data, options.quick)
        space, table = chain_space(CLASSES, FRAME, OPERATIONS), None
        configs = tuple(replace(c, epochs=2) if options.quick else c for c in (SEARCH, TRIAL, FINAL))
        bench = Bench(LocalDevice(), TensorSpec("image", (1, 3, SIDE, SIDE)), measuring(options.quick), work, print)
        table = table_of(space, bench)
        rows = [seed_row(seed, space, table, (train, test), configs, bench) for seed in range(options.seeds)]
    found = compared(rows)
    for row in found:
        print(f"{row['what']}: {row['mean']:.2f} points ({row['low']:.2f} to {row['high']:.2f}), n = {row['n']}")
    held = [claim(found[0])] if not options.quick and len(rows) > 1 else []
    print("\n".join(claims.table(held)))
    if options.json:
        claims.write_json(options.json, "asap_cifar", [*rows, *found], held)


def measuring(quick: bool) -> Measuring:
    return Measuring("ort-fp32", networks=5, blocks=2, block_size=5) if quick else Measuring(TARGET, networks=30)


def table_of(space: ChainSpace, bench: Bench) -> LatencyTable:
    """The latency table, measured once."""
    file = bench.folder / "table.json"
    if not file.exists():
        records.save(file, measured_table(space, bench)[0])
    return records.load(LatencyTable, file)


def seed_row(
    seed: int,
    space: ChainSpace,
    table: LatencyTable,
    data: tuple[Split, Split],
    configs: tuple[FitConfig, ...],
    bench: Bench,
) -> Row:
    """One seed, from its file if it is there."""
    file = bench.folder / f"seed-{seed}.json"
    if not file.exists():
        search, trial, final = (replace(config, seed=seed) for config in configs)
        space = replace(space, seed=seed)
        found, cost = searched(space, table, data[0], search, bench.folder)
        trials = random_search(space, table, found, data[0], trial, cost, seed)
        members = {"asap": found, "random": max(trials, key=lambda one: one[1])[0], "one": trials[0][0]}
        last = {name: accuracy(trained(space.network(m), data[0], final), data[1]) for name, m in members.items()}
        times, _ = time_networks(space, list(members.values()), bench)
        row = {"seed": seed, "search_s": cost, "trials": len(trials), "accuracy": last}
        row |= {"p50_ms": dict(zip(members, times.tolist())), "choices": {n: m.choices for n, m in members.items()}}
        records.save(file, row)
    row = records.read(file)
    told = ", ".join(f"{NAMES[n]} {100 * a:.2f} % at {row['p50_ms'][n]:.4f} ms" for n, a in row["accuracy"].items())
    print(f"seed {seed}: {told}; {row['trials']} trials in {row['search_s']:.0f} s")
    return row


def searched(
    space: ChainSpace, table: LatencyTable, train: Split, config: FitConfig, work: Path
) -> tuple[Genotype, float]:
    """The network that the annealed search finds at the latency in the middle of the space, and the seconds it took."""
    middle = float(np.median([table.predict(space.random(seed)) for seed in range(500)]))
    task = asap(
        Parts(space.supernet(), None, CLASSES),
        cooling=COOLING,
        latency_table=str(work / "table.json"),
        latency_budget_ms=middle,
        latency_weight=1.0,
        latency_form="hinge",
        skip_dropout=0.2,
        lr=0.05,
        alpha_lr=0.01,
    )
    place = work / f"search-{config.seed}"
    done = fit(task, train, PREPROCESSING, config, place, lambda epoch: print(f"  {epoch.epoch}: {epoch.loss:.3f}"))
    return task.genotype(), sum(epoch.seconds for epoch in done.history)  # also those before an interruption


def random_search(
    space: ChainSpace,
    table: LatencyTable,
    found: Genotype,
    train: Split,
    config: FitConfig,
    seconds: float,
    seed: int,
) -> list[tuple[Genotype, float]]:
    """Random networks of the found one's predicted latency with their accuracy, for so many seconds."""
    half = len(train) // 2
    rows = np.random.default_rng(seed).permutation(len(train))
    first, second = train.take(rows[:half]), train.take(rows[half:])
    wanted, trials, spent = table.predict(found), [], 0.0
    members = {
        tuple(one.choices.values()): one for one in map(space.random, range(10_000 * seed, 10_000 * seed + 2000))
    }
    others = sorted(members.values(), key=lambda one: abs(table.predict(one) - wanted))[:NEAREST]
    for index in np.random.default_rng(seed).permutation(len(others)):
        start = time.monotonic()
        score = accuracy(trained(space.network(others[index]), first, config), second)
        trials.append((others[index], score))
        spent += time.monotonic() - start
        if spent * (1 + 0.5 / len(trials)) > seconds:  # another one would be past it by more than half of itself
            return trials
    return trials


def trained(net: nn.Module, train: Split, config: FitConfig) -> nn.Module:
    with tempfile.TemporaryDirectory() as folder:
        task = plain(Parts(net, None, CLASSES))
        fit(task, train, PREPROCESSING, config, Path(folder) / "stage")
    return task.deployable().eval()


def accuracy(net: nn.Module, split: Split) -> float:
    images = split.inputs["image"]
    with torch.inference_mode():
        parts = np.array_split(images, max(1, len(images) // 250))
        logits = [net(torch.from_numpy(PREPROCESSING.apply(part))).numpy() for part in parts]
    return top1(np.concatenate(logits), np.asarray(split.labels))


def pictures(file: Path | None, quick: bool) -> tuple[Split, Split]:
    """CIFAR-10 as an .npz of x_train, y_train, x_test, y_test; with --quick a few digits."""
    if quick:
        data = load(PREPROCESSING, holdout=0.8)
        assert data.train is not None and data.evaluation is not None
        return data.train, data.evaluation.split
    if file is None:
        raise SystemExit("give --data FILE.npz with x_train, y_train, x_test and y_test")
    with np.load(file, allow_pickle=False) as arrays:
        made = [
            Split({"image": arrays[f"x_{part}"][:count]}, arrays[f"y_{part}"][:count].astype(np.int64))
            for part, count in (("train", TRAIN), ("test", TEST))
        ]
    return made[0], made[1]


def compared(rows: list[Row]) -> list[Row]:
    """Paired differences over seeds in points, with Student's interval."""
    found = []
    for name in ("random", "one"):
        values = [100 * (row["accuracy"]["asap"] - row["accuracy"][name]) for row in rows]
        mean, half = float(np.mean(values)), float("nan")
        if len(values) > 1:
            half = float(stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))
        ratios = [row["p50_ms"]["asap"] / row["p50_ms"][name] for row in rows]
        row = {"what": f"{NAMES['asap']} over {NAMES[name]}", "mean": mean, "low": mean - half, "high": mean + half}
        found.append({**row, "n": len(values), "differences": values, "latency_ratio": float(np.mean(ratios))})
    return found


def claim(row: Row) -> claims.Claim:
    interval = Interval(row["mean"], row["low"], row["high"])
    return claims.make_claim("asap_cifar", "accuracy over the best of N random", interval, row["n"])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="npz with x_train (N, 32, 32, 3) uint8, y_train, x_test, y_test")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--work", type=Path, help="folder that keeps the table and each seed's result")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="one seed of digits, two epochs: no claims")
    options = parser.parse_args()
    options.seeds = 1 if options.quick else options.seeds
    return options


if __name__ == "__main__":
    main()
