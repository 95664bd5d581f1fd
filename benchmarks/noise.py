"""How often does a 5 % latency gate raise a false alarm on a loaded machine, and does it ever pass a 10 % slow-down?

    python benchmarks/noise.py [--repetitions 300] [--json FILE] [--quick]

A busy loop, started and ended here, has one core to itself; the measurement has to live with it. Each repetition is a
whole run of the latency protocol in fresh processes: a net of 40 convolutions, the same file again, and a net of 44 of
the same convolutions (about 10 % slower, see `ratio`). The gate asks for a speed-up of at least 1 / 1.05. A
fail of the same file is a false alarm; a pass of the slower net is a miss; inconclusive is neither. Shares come with
Clopper and Pearson's interval.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import claims
import numpy as np
import onnx

from edgesmith.artifact import Exported
from edgesmith.bench.adopt import adopt
from edgesmith.bench.job import Schedule
from edgesmith.bench.run import measure
from edgesmith.devices.local import LocalDevice
from edgesmith.distributions import clopper_pearson
from edgesmith.intervals import ratio_of_medians
from edgesmith.results import BenchRecord, Interval
from edgesmith.verify.gate import Limits, gate

REPETITIONS, QUICK = 300, 3
LAYERS, MORE_LAYERS, CHANNELS, SIDE = 40, 44, 16, 16
ALLOWED = 1.05
STATES = ("pass", "inconclusive", "fail", "not_measured")
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--repetitions", type=int, default=REPETITIONS)
    parser.add_argument("--quick", action="store_true", help="3 repetitions: no claims")
    options = parser.parse_args()
    repetitions = QUICK if options.quick else options.repetitions
    with tempfile.TemporaryDirectory() as folder, busy_core():
        rows = repeat(Path(folder), repetitions)
    for row in rows:
        print(line(row))
    found = [] if options.quick else claims_of(rows)
    print("\n".join(claims.table(found)))
    if options.json:
        claims.write_json(options.json, "noise", rows, found, ("numpy", "onnxruntime"))


@contextlib.contextmanager
def busy_core() -> Iterator[None]:
    """A busy loop on the last core, ended whatever happens."""
    core = max(os.sched_getaffinity(0))
    loop = subprocess.Popen([sys.executable, "-c", f"import os\nos.sched_setaffinity(0, {{{core}}})\nwhile True: pass"])
    try:
        yield
    finally:
        loop.kill()
        loop.wait()


def repeat(folder: Path, repetitions: int) -> list[Row]:
    """Measure the three nets that often; a row a candidate."""
    nets = {"reference": LAYERS, "same": LAYERS, "slower": MORE_LAYERS}
    models = {name: adopt(chain(folder / f"{name}.onnx", layers), folder / name) for name, layers in nets.items()}
    records, started = [], time.monotonic()
    for number in range(repetitions):
        records.append(one_run(models, folder / "job"))
        if number % 20 == 19:
            print(f"{number + 1} of {repetitions}, {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    return [row_of(name, records) for name in ("same", "slower")]


def one_run(models: dict[str, Exported], folder: Path) -> BenchRecord:
    """The latency protocol as `edgesmith bench` has it, once."""
    inputs = {"x": np.random.default_rng(0).standard_normal((8, CHANNELS, SIDE, SIDE)).astype(np.float32)}
    return measure(LocalDevice(), folder, models, inputs, Schedule(), "reference")


def row_of(name: str, records: Sequence[BenchRecord]) -> Row:
    """How often the gate said what of one candidate, and how much slower it was."""
    states, ratios = Counter[str](), []
    for record in records:
        states[verdict(name, record)] += 1
        blocks = {m.target: m.latency.blocks_ms for m in record.measurements if m.latency}
        ratios.append(ratio_of_medians(blocks[name], blocks["reference"]))
    wide = [i.high - i.low for i in ratios if i.low is not None and i.high is not None]
    low, middle, high = np.quantile([i.value for i in ratios], [0.05, 0.5, 0.95])
    return {
        "candidate": name,
        **{state: states[state] for state in STATES},
        "ratio": middle,
        "ratio_5_to_95": [low, high],
        "interval_width": float(np.median(wide)),
        "unsteady": sum(not record.sentinel_drift <= 0.1 for record in records),
        "n": len(records),
    }


def verdict(name: str, record: BenchRecord) -> str:
    """The state of the gate's answer for one candidate, asked alone."""
    kept = tuple(m for m in record.measurements if m.target in (name, "reference"))
    found = gate(Limits(speedup=1 / ALLOWED), (), (), replace(record, measurements=kept), (name,), "reference")
    return next(v.state for v in found if v.check == "speedup")


def chain(file: Path, layers: int) -> Path:
    """An .onnx file of `layers` equal 3x3 convolutions, with weights that keep the size of what they are given."""
    rng, nodes, weights = np.random.default_rng(0), [], []
    for number in range(layers):
        weight = rng.standard_normal((CHANNELS, CHANNELS, 3, 3)).astype(np.float32) / np.sqrt(9 * CHANNELS)
        weights.append(onnx.numpy_helper.from_array(weight.astype(np.float32), f"w{number}"))
        names = (f"y{number - 1}" if number else "x", f"y{number}")
        nodes.append(onnx.helper.make_node("Conv", [names[0], f"w{number}"], [names[1]], pads=[1, 1, 1, 1]))
    shape, kind = [1, CHANNELS, SIDE, SIDE], onnx.TensorProto.FLOAT
    ends = [onnx.helper.make_tensor_value_info(name, kind, shape) for name in ("x", f"y{layers - 1}")]
    graph = onnx.helper.make_graph(nodes, "chain", ends[:1], ends[1:], weights)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(file))
    return file


def claims_of(rows: Sequence[Row]) -> list[claims.Claim]:
    """False alarms and misses, in 100 runs."""
    same, slower = rows
    asked = (("false alarms of a 5 % gate", same, "fail"), ("a 10 % slow-down that passes", slower, "pass"))
    found = []
    for text, row, state in asked:
        low, high = clopper_pearson(row[state], row["n"])
        share = Interval(100 * row[state] / row["n"], 100 * low, 100 * high)
        found.append(claims.make_claim("noise", text, share, row["n"]))
    ends = Interval(slower["ratio"], *slower["ratio_5_to_95"])
    return [*found, claims.make_claim("noise", "how much slower the slower net is", ends, slower["n"])]


def line(row: Row) -> str:
    counts = ", ".join(f"{row[state]} {state}" for state in STATES if row[state])
    low, high = row["ratio_5_to_95"]
    shown = f"ratio {row['ratio']:.3f} ({low:.3f} to {high:.3f}), interval {row['interval_width']:.3f} wide"
    return f"{row['candidate']:8} {counts} of {row['n']}; {shown}; {row['unsteady']} unsteady"


if __name__ == "__main__":
    main()
