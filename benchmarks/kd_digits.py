"""Does distillation help a small student on few real digits? Six ways to train it, seed by seed.

    python benchmarks/kd_digits.py [--seeds 5] [--json FILE] [--quick]

A fifth of scikit-learn's digits (about 360 pictures of 32 x 32) trains, the other four fifths judge once, at the end.
Per seed: its own split, teacher and student. sh has its three stages: another small student, a teacher under that
student's frozen head, and a fresh student of that teacher under the same head. Every method has the same student,
epochs, batches and learning rate; loss weights are the papers' or 1, none was tuned here.
Intervals are 95 % by Student's t over seeds; a method is compared with "none" pair by pair of the same seed (t test,
p values also after Holm's correction for several methods). Five seeds find differences of about a point, not less.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import claims
import numpy as np
import torch
from scipy import stats
from torch import nn

from edgesmith.compress.distil import distil
from edgesmith.compress.fit import FitConfig, fit
from edgesmith.compress.head_sharing import kd, th_kd
from edgesmith.compress.task import Parts, Task, plain
from edgesmith.data.digits import CLASSES, load
from edgesmith.data.split import Data
from edgesmith.metrics import top1
from edgesmith.models import mobilefacenet, resnet
from edgesmith.tensors import Preprocessing

SIZE, EMBEDDING, COUNT = 32, 64, len(CLASSES)
PREPROCESSING = Preprocessing((SIZE, SIZE), (0.5,) * 3, (0.5,) * 3)
STUDENT = FitConfig(epochs=20, batch=32, lr=0.1, augment="shift", channels_last=True, threads=1)
TEACHER = replace(STUDENT, lr=0.05)
# What a student learns from the ordinary teacher; sh has a teacher of its own.
METHODS = {
    "none": lambda parts: plain(parts),
    "kd": lambda parts: kd(parts, alpha=1.0),
    "l2": lambda parts: distil(parts, l2=1.0),
    "crd": lambda parts: distil(parts, crd=0.8),
    "th": lambda parts: th_kd(parts, a_th=0.5, alpha=1.0),
}
FIRST = 1000  # added to the seed of the student whose head sh keeps


def main() -> None:
    options = _options()
    config = (replace(STUDENT, epochs=1), replace(TEACHER, epochs=1)) if options.quick else (STUDENT, TEACHER)
    started = time.monotonic()
    found: dict[str, list[float]] = {}
    for seed in range(1 if options.quick else options.seeds):
        for name, accuracy in one_seed(seed, *config).items():
            found.setdefault(name, []).append(accuracy)
        print(f"seed {seed}: " + ", ".join(f"{name} {100 * values[-1]:.2f}" for name, values in found.items()))
    rows = rows_of(found)
    print(markdown(rows))
    print(f"{time.monotonic() - started:.0f} s")
    if options.json:
        packages = ("numpy", "torch", "lightning-fabric", "scikit-learn", "scipy")
        claims.write_json(options.json, "kd_digits", rows, [], packages)


def one_seed(seed: int, student: FitConfig, teacher: FitConfig) -> dict[str, float]:
    """Accuracy on the held-out digits of every method and both teachers."""
    data = load(PREPROCESSING, holdout=0.8, seed=seed)
    student, teacher = replace(student, seed=seed), replace(teacher, seed=seed)
    ordinary = trained(plain(Parts(big(seed), None, COUNT)), data, teacher)
    found = {"teacher": accuracy_of(ordinary, data)}
    for name, method in METHODS.items():
        net = trained(method(Parts(small(seed), ordinary, COUNT)), data, student)
        found[name] = accuracy_of(net, data)
    first = trained(plain(Parts(small(FIRST + seed), None, COUNT)), data, replace(student, seed=FIRST + seed))
    aware = trained(plain(Parts(big(seed), None, COUNT, first.head)), data, teacher)
    last = trained(kd(Parts(small(seed), aware, COUNT, first.head), alpha=1.0), data, student)
    return found | {"teacher under a student's head": accuracy_of(aware, data), "sh": accuracy_of(last, data)}


def small(seed: int) -> nn.Module:
    return mobilefacenet.build(width=0.25, size=SIZE, embedding=EMBEDDING, classes=COUNT, seed=seed)[0]


def big(seed: int) -> nn.Module:
    return resnet.build(width=32, size=SIZE, embedding=EMBEDDING, classes=COUNT, seed=seed)[0]


def trained(task: Task, data: Data, config: FitConfig) -> Any:
    """What a task deploys after its training."""
    assert data.train is not None
    with tempfile.TemporaryDirectory() as folder:
        fit(task, data.train, PREPROCESSING, config, Path(folder) / "stage")
    return task.deployable()


def accuracy_of(net: nn.Module, data: Data) -> float:
    assert data.evaluation is not None
    split = data.evaluation.split
    with torch.inference_mode():
        logits = net(torch.from_numpy(PREPROCESSING.apply(split.inputs["image"])))
    return top1(logits.numpy(), data.evaluation.arrays["labels"])


def rows_of(found: Mapping[str, Sequence[float]]) -> list[dict[str, Any]]:
    """A row a method: mean accuracy, its interval, and the paired comparison with "none"."""
    rows = []
    for name, values in found.items():
        row: dict[str, Any] = {
            "method": name,
            "seeds": len(values),
            "accuracies": list(values),
            "accuracy": _mean(values),
        }
        if name != "none" and not name.startswith("teacher"):
            difference = np.subtract(values, found["none"])
            test = stats.ttest_rel(values, found["none"]) if len(values) > 1 else None
            row |= {"gain": _mean(difference), "p": None if test is None else float(test.pvalue)}
        rows.append(row)
    compared = sorted((row for row in rows if row.get("p") is not None), key=lambda row: row["p"])
    least = 0.0
    for place, row in enumerate(compared):
        least = max(least, min(1.0, row["p"] * (len(compared) - place)))
        row["p_holm"] = least
    return rows


def _mean(values: Sequence[float] | np.ndarray) -> dict[str, float | None]:
    mean, count = float(np.mean(values)), len(values)
    if count < 2:
        return {"value": mean, "low": None, "high": None}
    half = float(stats.t.ppf(0.975, count - 1) * np.std(values, ddof=1) / np.sqrt(count))
    return {"value": mean, "low": mean - half, "high": mean + half}


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table people read: percent, and points of gain over "none"."""
    lines = ["| method | accuracy % | gain over none, points | p | p (Holm) |", "|---|---|---|---|---|"]
    for row in rows:
        gain = _cell(row["gain"], "+.2f") if "gain" in row else ""
        p = [f"{row[key]:.3f}" if row.get(key) is not None else "" for key in ("p", "p_holm")]
        lines.append(f"| {row['method']} | {_cell(row['accuracy'], '.2f')} | {gain} | {p[0]} | {p[1]} |")
    return "\n".join(lines)


def _cell(cell: Mapping[str, float | None], form: str) -> str:
    value, low, high = (None if end is None else format(100 * end, form) for end in cell.values())
    return f"{value}" if low is None else f"{value} [{low}, {high}]"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the result here")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one seed, one epoch: says nothing about accuracy")
    return parser.parse_args()


if __name__ == "__main__":
    main()
