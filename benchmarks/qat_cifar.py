"""What int8 costs on CIFAR-10, and what quantization-aware training wins back: float, calibrated int8, QAT int8.

    python benchmarks/qat_cifar.py --data cifar10.npz [--seeds 3] [--json FILE] [--quick]

The file has x_train, y_train, x_test, y_test (uint8, NHWC). Reduced: 10,000 training pictures, a MobileFaceNet-shaped
net of a quarter of the width with ReLU6. A seed: the net is trained in float; from there QAT (compress/qat.py) for the
family ort, and, so that nothing is won by training longer, float training of the same epochs, batches and learning
rate. int8 files are made as `edgesmith.convert` makes them (calibrated on 300 training pictures; with learned rounding
too, compress/quantize/adaround.py) and run by ONNX Runtime on all 10,000 test pictures, which chose nothing.
Intervals are 95 % by Student's t over paired seeds. About 5 minutes a seed on one thread.
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

from edgesmith.compress.fit import FitConfig, fit
from edgesmith.compress.qat import QuantizationAware
from edgesmith.compress.quantize.adaround import learn_rounding
from edgesmith.compress.settings import Qat
from edgesmith.compress.task import Parts, plain
from edgesmith.data.split import Split, digest
from edgesmith.graph.capture import Program
from edgesmith.metrics import top1
from edgesmith.models import mobilefacenet
from edgesmith.pipeline.produce import (
    build_targets,
    calibrate,
    capture_source,
    instruction_set_of,
    plan_targets,
    tensor_batches,
)
from edgesmith.pipeline.sources import Inputs, Source
from edgesmith.quant import QuantPlan
from edgesmith.results import Interval
from edgesmith.runtimes import RUNTIMES
from edgesmith.runtimes.session import RunOptions
from edgesmith.tensors import Preprocessing, TensorSpec

SIDE, CLASSES, TRAIN, CALIBRATION, TARGET = 32, 10, 10_000, 300, "ort-int8"
PREPROCESSING = Preprocessing((SIDE, SIDE), (0.5,) * 3, (0.25,) * 3)
FLOAT = FitConfig(epochs=16, batch=64, lr=0.1, augment="flip+shift", channels_last=True, threads=1)
LONGER = replace(FLOAT, epochs=4, lr=0.01)  # QAT, and as many float epochs beside it
QAT = Qat("ort", freeze_ranges=3)
PAIRS = {  # claim -> what is compared with what
    "QAT int8 over float": ("qat int8", "float"),
    "QAT int8 over float trained as long": ("qat int8", "float longer"),
}
SHOWN = {
    **PAIRS,
    "calibrated int8 over float": ("float int8", "float"),
    "calibrated int8 over float, both trained longer": ("float longer int8", "float longer"),
    "learned rounding over nearest": ("float int8 adaround", "float int8"),
    "QAT int8 over calibrated int8, both trained longer": ("qat int8", "float longer int8"),
}
Row = dict[str, Any]


def main() -> None:
    options = _options()
    started = time.monotonic()
    train, test = pictures(options.data, options.quick)
    configs = (replace(FLOAT, epochs=1), replace(LONGER, epochs=1)) if options.quick else (FLOAT, LONGER)
    rows = [one_seed(seed, train, test, *configs) for seed in range(1 if options.quick else options.seeds)]
    found = [compared(rows, name, *pair) for name, pair in SHOWN.items()]
    for row in found:
        print(f"{row['what']}: {row['mean']:+.2f} points ({_end(row['low'])} to {_end(row['high'])}), n = {row['n']}")
    held = [claim(row) for row in found if row["what"] in PAIRS] if len(rows) > 1 else []
    print("\n".join(claims.table(held)))
    print(f"{time.monotonic() - started:.0f} s")
    if options.json:
        packages = ("numpy", "torch", "torchao", "onnx", "onnxruntime", "lightning-fabric", "scipy")
        claims.write_json(options.json, "qat_cifar", [*rows, *found], held, packages)


def one_seed(seed: int, train: Split, test: Split, first: FitConfig, longer: FitConfig) -> Row:
    """Accuracy on the test pictures of every net, in float and in int8."""
    first, longer = replace(first, seed=seed), replace(longer, seed=seed + 1000)
    net = mobilefacenet.build(act="relu6", width=0.25, size=SIDE, embedding=64, classes=CLASSES, seed=seed)[0]
    start = trained(plain(Parts(net, None, CLASSES)), train, first)
    clock = time.monotonic()
    more = trained(plain(Parts(copied(start), None, CLASSES)), train, longer)
    between = time.monotonic()
    aware = QuantizationAware(plain(Parts(copied(start), None, CLASSES)), QAT, instruction_set_of("ort"), ["image"])
    tuned, plan = trained(aware, train, longer), aware.plan
    seconds = {"float": between - clock, "qat": time.monotonic() - between}
    found = {"float": in_float(start, test), "float longer": in_float(more, test)}
    for name, module in (("float", start), ("float longer", more)):
        program, inputs = captured(module), calibration(train)
        plans = plan_targets(program, calibrate(program, inputs, PREPROCESSING, 50), [TARGET])
        found[f"{name} int8"] = in_int8(program, module, plans["ort"], test)
        if name == "float":
            batches = tensor_batches(program.inputs, inputs, PREPROCESSING, 50)
            found["float int8 adaround"] = in_int8(
                program, module, learn_rounding(program, plans["ort"], batches), test
            )
    found["qat int8"] = in_int8(captured(tuned), tuned, plan, test)
    print(f"seed {seed}: " + ", ".join(f"{name} {100 * value:.2f} %" for name, value in found.items()))
    return {"seed": seed, "accuracy": found, "longer_s": seconds}


def copied(net: nn.Module) -> nn.Module:
    """The net with weights of its own."""
    again = mobilefacenet.build(act="relu6", width=0.25, size=SIDE, embedding=64, classes=CLASSES)[0]
    again.load_state_dict(net.state_dict())
    return again


def trained(task: Any, train: Split, config: FitConfig) -> nn.Module:
    """What a task deploys after its training."""
    with tempfile.TemporaryDirectory() as folder:
        fit(task, train, PREPROCESSING, config, Path(folder) / "stage")
    return task.deployable()  # type: ignore[no-any-return]


def captured(net: nn.Module) -> Program:
    return capture_source(source_of(net), dynamic_batch=True)


def source_of(net: nn.Module) -> Source:
    return Source("mobilefacenet", net, (TensorSpec("image", (1, 3, SIDE, SIDE)),), PREPROCESSING, outputs=("logits",))


def calibration(train: Split) -> Inputs:
    arrays = {"image": train.inputs["image"][:CALIBRATION]}
    return Inputs(arrays, True, digest(arrays))


def in_float(net: nn.Module, test: Split) -> float:
    with torch.inference_mode():
        logits = [net(torch.from_numpy(PREPROCESSING.apply(part))).numpy() for part in parts(test)]
    return accuracy(logits, test)


def in_int8(program: Program, net: nn.Module, plan: QuantPlan, test: Split) -> float:
    """Accuracy of the int8 file that a plan gives, as ONNX Runtime runs it."""
    with tempfile.TemporaryDirectory() as folder:
        bundle = build_targets(program, source_of(net), (TARGET,), {"ort": plan}, Path(folder), lambda text: None)
        with RUNTIMES.get("ort").open(bundle.exported[TARGET], RunOptions(threads=1)) as session:
            logits = [session.run({"image": PREPROCESSING.apply(part)})["logits"] for part in parts(test)]
    return accuracy(logits, test)


def parts(test: Split) -> list[np.ndarray]:
    return np.array_split(test.inputs["image"], max(1, len(test) // 250))


def accuracy(logits: Sequence[np.ndarray], test: Split) -> float:
    assert test.labels is not None
    return float(top1(np.concatenate(logits), test.labels))


def compared(rows: Sequence[Mapping[str, Any]], what: str, one: str, other: str) -> Row:
    """Mean difference over the seeds, in points, and its interval."""
    values = [100 * (row["accuracy"][one] - row["accuracy"][other]) for row in rows]
    mean, half = float(np.mean(values)), None
    if len(values) > 1:
        half = float(stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))
    low, high = (None, None) if half is None else (mean - half, mean + half)
    return {"what": what, "values": values, "mean": mean, "low": low, "high": high, "n": len(values)}


def claim(row: Row) -> claims.Claim:
    return claims.make_claim("qat_cifar", row["what"], Interval(row["mean"], row["low"], row["high"]), row["n"])


def _end(value: float | None) -> str:
    return "?" if value is None else f"{value:+.2f}"


def pictures(file: Path, quick: bool) -> tuple[Split, Split]:
    """Training pictures, spread over the file, and all test pictures."""
    with np.load(file, allow_pickle=False) as found:
        arrays = {name: found[name] for name in ("x_train", "y_train", "x_test", "y_test")}
    rows = np.random.default_rng(0).permutation(len(arrays["x_train"]))[: 400 if quick else TRAIN]
    last = 500 if quick else len(arrays["x_test"])
    train = Split({"image": arrays["x_train"][rows]}, arrays["y_train"][rows].astype(np.int64))
    return train, Split({"image": arrays["x_test"][:last]}, arrays["y_test"][:last].astype(np.int64))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="cifar10.npz")
    parser.add_argument("--json", type=Path, help="write the result here")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one seed, one epoch: says nothing about accuracy")
    return parser.parse_args()


if __name__ == "__main__":
    main()
