"""What to do with labels that nobody annotated: seven ways to train, on scenes of real digits, seed by seed.

    python benchmarks/partial_labels.py [--seeds 3] [--json FILE] [--quick]

Scenes of up to four handwritten digits have 16 labels; training labels are hidden, each with probability a half
("rps:0.5") or all but 40 there and 40 not there of each class ("fpc:40"). Complete labels judge once, at the end.
bce, focal and asl leave unknown labels out, and so does ignore, which is what the class prior is estimated by;
negative takes them for absent; csl decides label by label. csl's numbers are the paper's for these simulations, but
for the number of likely labels a scene: 2 of 16 classes where the paper has 5 of 80. The last two rows train on
complete labels. Every way has the same net, epochs, batches and learning rate; nothing was tuned here. csl costs two
trainings, as its prior's net is trained first.
Where as many positives as negatives are kept of each class, the prior is near a half whatever the class ("classes above
eta" tells how many it calls frequent): csl may then leave out all that is unknown, and is the same as ignore.
Intervals are 95 % by Student's t over seeds; a way is compared with ignore pair by pair of the same seed.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import claims
import numpy as np
import torch
from scipy import stats
from torch import nn

from edgesmith.compress.asl import asl
from edgesmith.compress.csl import csl
from edgesmith.compress.fit import FitConfig, fit
from edgesmith.compress.task import Parts, Task
from edgesmith.data.scenes import CLASSES, load
from edgesmith.data.split import Data
from edgesmith.models import resnet
from edgesmith.multilabel_metrics import mean_ap
from edgesmith.results import Interval
from edgesmith.tensors import Preprocessing

SIZE, COUNT = 32, len(CLASSES)
PREPROCESSING = Preprocessing((SIZE, SIZE), (0.5,) * 3, (0.5,) * 3)
CONFIG = FitConfig(
    epochs=15, batch=64, lr=0.005, optimizer="adamw", weight_decay=1e-2, warmup_epochs=1, channels_last=True, threads=1
)
# gamma of annotated and of unknown negatives, as the paper has them for each simulation.
RULES = {"rps:0.5": (1.0, 4.0), "fpc:40": (3.0, 4.0)}


FREQUENT = "classes above eta"


def ways(rule: str) -> dict[str, Callable[[Parts], Task]]:
    """Methods by name; "ignore" comes before "csl", which takes its net for the prior."""
    neg, unknown = RULES[rule]
    return {
        "bce": lambda parts: asl(parts, 0.0, 0.0, 0.0),
        "focal": lambda parts: asl(parts, 2.0, 2.0, 0.0),
        "asl": lambda parts: asl(parts, 4.0, 0.0, 0.05),
        "ignore": lambda parts: csl(parts, "ignore", neg),
        "negative": lambda parts: csl(parts, "negative", neg, 0.0, neg),
        "negative, focused": lambda parts: csl(parts, "negative", neg, 0.0, unknown),
        "csl": lambda parts: csl(parts, "selective", neg, 0.0, unknown, eta=0.5, top_k=2),
    }


def one_seed(rule: str, seed: int, config: FitConfig, samples: int) -> dict[str, float]:
    """mAP on complete labels of every way, and the share of classes that csl's prior calls frequent."""
    data = load(PREPROCESSING, samples=samples, partial=rule, seed=seed)
    config, found, prior = replace(config, seed=seed), {}, None
    for name, way in ways(rule).items():
        task: Any = way(Parts(student(seed), None, COUNT, prior=prior))
        net = trained(task, data, config)
        found[name] = judged(net, data)
        prior = net if name == "ignore" else prior
    found[FREQUENT] = 1 - float(task.loss.rare.mean())
    complete = load(PREPROCESSING, samples=samples, seed=seed)
    for name in ("bce", "asl"):
        net = trained(ways(rule)[name](Parts(student(seed), None, COUNT)), complete, config)
        found[f"{name}, complete labels"] = judged(net, complete)
    return found


def student(seed: int) -> nn.Module:
    return resnet.build(width=16, size=SIZE, embedding=64, classes=COUNT, seed=seed)[0]


def trained(task: Any, data: Data, config: FitConfig) -> nn.Module:
    """What a task deploys after its training."""
    assert data.train is not None
    with tempfile.TemporaryDirectory() as folder:
        fit(task, data.train, PREPROCESSING, config, Path(folder) / "stage")
    return task.deployable()


def judged(net: nn.Module, data: Data) -> float:
    assert data.evaluation is not None
    split = data.evaluation.split
    with torch.inference_mode():
        logits = net(torch.from_numpy(PREPROCESSING.apply(split.inputs["image"])))
    return mean_ap(logits.numpy(), data.evaluation.arrays["labels"]).macro


def rows_of(rule: str, found: Mapping[str, Sequence[float]]) -> list[dict[str, Any]]:
    """A row a way: mAP, and the paired difference to "ignore"; and one of the share of frequent classes."""
    found = dict(found)
    rows: list[dict[str, Any]] = [{"labels": rule, "way": FREQUENT, "shares": list(found.pop(FREQUENT))}]
    for name, values in found.items():
        gain = _ends(over_seeds(np.subtract(values, found["ignore"])))
        row = {"labels": rule, "way": name, "seeds": len(values), "mAPs": list(values)}
        rows.append({**row, "mAP": _ends(over_seeds(values)), "gain": gain})
    return rows


def over_seeds(values: Sequence[float] | np.ndarray) -> Interval:
    """A mean with its interval by Student's t; one seed has none."""
    mean, count = float(np.mean(values)), len(values)
    if count < 2:
        return Interval(mean, None, None)
    half = float(stats.t.ppf(0.975, count - 1) * np.std(values, ddof=1) / np.sqrt(count))
    return Interval(mean, mean - half, mean + half)


def claims_of(rule: str, found: Mapping[str, Sequence[float]]) -> list[claims.Claim]:
    made = []
    for other in ("ignore", "negative"):
        gain = over_seeds(100 * np.subtract(found["csl"], found[other]))
        made.append(claims.make_claim("partial_labels", f"{rule} csl over {other}", gain, len(found["csl"])))
    return made


def _ends(found: Interval) -> dict[str, float | None]:
    return {"value": found.value, "low": found.low, "high": found.high}


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table people read: percent, and points of gain over "ignore"."""
    lines = ["| labels | way | mAP % | over ignore, points |", "|---|---|---|---|"]
    for row in rows:
        if row["way"] == FREQUENT:
            continue
        lines.append(f"| {row['labels']} | {row['way']} | {_cell(row['mAP'], '.2f')} | {_cell(row['gain'], '+.2f')} |")
    return "\n".join(lines)


def _cell(cell: Mapping[str, float | None], form: str) -> str:
    value, low, high = (None if end is None else format(100 * end, form) for end in cell.values())
    return f"{value}" if low is None else f"{value} [{low}, {high}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the result here")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one seed, one epoch, few scenes: says nothing")
    options = parser.parse_args()
    config, samples = (replace(CONFIG, epochs=1, warmup_epochs=0), 200) if options.quick else (CONFIG, 1200)
    started, rows, made = time.monotonic(), [], []
    for rule in RULES:
        found: dict[str, list[float]] = {}
        for seed in range(1 if options.quick else options.seeds):
            for name, value in one_seed(rule, seed, config, samples).items():
                found.setdefault(name, []).append(value)
            print(f"{rule}, seed {seed}: " + ", ".join(f"{n} {100 * v[-1]:.2f}" for n, v in found.items()), flush=True)
        rows += rows_of(rule, found)
        made += claims_of(rule, found)
    print(markdown(rows))
    print("\n".join(claims.table(made)))
    print(f"{time.monotonic() - started:.0f} s")
    if options.json:
        packages = ("numpy", "torch", "lightning-fabric", "scikit-learn", "scipy")
        claims.write_json(options.json, "partial_labels", rows, made, packages)


if __name__ == "__main__":
    main()
