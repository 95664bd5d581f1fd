"""Records of a small run: a reference, two required targets, one optional, one that never ran."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgesmith.report.collect import collect
from edgesmith.results import Accuracy, BenchRecord, DeviceInfo, Interval, Latency, Measurement, State, Verdict
from edgesmith.verify.agreement import compare

DEVICE = DeviceInfo("local", "Linux 6.1", "Some CPU", 2, 8 << 30, "x86-vnni", "3.11.2", governor="performance")


def measured(name: str, median: float, blocks: int = 20, size: int = 20) -> Measurement:
    rng = np.random.default_rng(len(name))
    taken = tuple(tuple(float(v) for v in median * (1 + 0.02 * rng.random(size))) for _ in range(blocks))
    return Measurement(
        name,
        "measured",
        engine="engine",
        version="1.2",
        precision=name.split("-")[-1],
        latency=Latency(taken, 20),
        load_ms=(50.0, 20.0),
        first_ms=9.0,
        peak_bytes=200_000_000,
        size_bytes=1_200_000,
    )


def bench() -> BenchRecord:
    rows = [measured("torch-fp32", 10.0), measured("ort-fp32", 5.0), measured("ort-int8", 2.0)]
    absent = Measurement("tensorrt-int8", "not_measured", "no CUDA device here")
    return BenchRecord(DEVICE, (*rows, absent), "torch-fp32", (1.0, 1.02))


def accuracy(target: str, value: float, drop: Interval | None = None) -> Accuracy:
    return Accuracy(target, "top1", Interval(value, value - 0.02, value + 0.01), drop, 500, {"mcnemar_p": 0.5})


def report(state: State = "pass", **changes: Any) -> dict[str, Any]:
    logits = np.random.default_rng(0).standard_normal((40, 5))
    values: dict[str, Any] = {
        "title": "A small run",
        "state": state,
        "required": ["ort-fp32", "ort-int8"],
        "bench": bench(),
        "accuracies": [
            accuracy("torch-fp32", 0.97),
            accuracy("ort-fp32", 0.97, Interval(0.0, -0.004, 0.004)),
            accuracy("ort-int8", 0.96, Interval(0.01, 0.002, 0.02)),
            Accuracy("ort-int8", "tar_all@1e-4", Interval(float("nan"), None, None), None, 0),
        ],
        "agreements": compare("ort-int8", {"y": logits}, {"y": logits * 1.001}),
        "verdicts": [
            Verdict("accuracy_drop", "ort-fp32", "pass", "accuracy drop <= 0.01", "0.0"),
            Verdict("accuracy_drop", "ort-int8", state, "accuracy drop <= 0.01", "0.01 (0.002 to 0.02)", more=120),
            Verdict("runs", "tensorrt-int8", "not_measured", "it runs", "no CUDA device here"),
        ],
        "failures": {"coreml-fp16": "no operator for aten.foo"},
        "histories": {
            "distil": [{"epoch": i, "loss": 2.0 - 0.1 * i, "terms": {"kd": 1.0 / (i + 1)}} for i in range(5)]
        },
        "skipped": ["a.gif: not a picture"],
        "provenance": {"command": "edgesmith run r.yaml", "recipe": "seed: 0\n", "versions": {"torch": "2.13.0"}},
    }
    return collect(**(values | changes))
