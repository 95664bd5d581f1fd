"""Do our percentiles agree with those of MLPerf's load generator, SingleStream, on the same ONNX Runtime session?

    python benchmarks/loadgen.py [--json FILE] [--quick]

Needs the package mlcommons-loadgen (extra `peers`). One session of a net of 120 convolutions; in each round our
protocol takes a block of samples and the load generator issues as many queries, by turns, each first in every other
round. The ratio of its percentile to ours, round by round, has the interval of paired rounds; a row also says whether
its percentile (the median of the rounds) lies in our own interval. Its clock includes its calls from C++ to Python.
"""

from __future__ import annotations

import argparse
import re
import tempfile
from pathlib import Path
from typing import Any

import claims
import mlperf_loadgen
import numpy as np
from noise import CHANNELS, SIDE, chain

from edgesmith.bench import protocol
from edgesmith.bench.adopt import adopt
from edgesmith.intervals import percentile_of_blocks, ratio_of_medians
from edgesmith.results import Interval
from edgesmith.runtimes.ort import OrtRuntime
from edgesmith.runtimes.session import RunOptions, Session
from edgesmith.tensors import Arrays

LAYERS, ROUNDS, CALLS, FEEDS = 120, 20, 400, 8
PERCENTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
_LINE = re.compile(r"^([\d.]+) percentile latency \(ns\)\s*:\s*(\d+)", re.MULTILINE)
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="4 rounds: no claims")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = adopt(chain(folder / "net.onnx", LAYERS), folder / "net")
        with OrtRuntime.open(model, RunOptions()) as session:
            ours, theirs = compare(session, feeds(), 4 if options.quick else ROUNDS, folder)
    rows = [row_of(name, ours, theirs) for name in PERCENTILES]
    for row in rows:
        inside = "inside" if row["inside"] else "outside"
        ends = "{:.4f} to {:.4f}".format(*row["ratio_interval"])
        print(
            f"{row['percentile']}: ours {row['ours_ms']:.4f} ms {row['ours_interval']}, theirs {row['theirs_ms']:.4f}",
            inside,
        )
        print(f"     theirs / ours {row['ratio']:.4f} ({ends}), {row['n']} samples each")
    found = [] if options.quick else [claim(row) for row in rows]
    print("\n".join(claims.table(found)))
    if options.json:
        claims.write_json(options.json, "loadgen", rows, found, ("numpy", "onnxruntime", "mlcommons-loadgen"))


def feeds() -> list[Arrays]:
    """Inputs to rotate over."""
    rng = np.random.default_rng(0)
    return [{"x": rng.standard_normal((1, CHANNELS, SIDE, SIDE)).astype(np.float32)} for _ in range(FEEDS)]


def compare(session: Session, inputs: list[Arrays], rounds: int, folder: Path) -> tuple[list[list[float]], list[Row]]:
    """Blocks of ours, and what the load generator said in each round."""
    protocol.warm_up(session.run, inputs, 50)
    ours: list[list[float]] = []
    theirs: list[Row] = []
    for number in range(rounds):
        if number % 2:
            theirs.append(single_stream(session, inputs, folder))
        session.run(inputs[0])
        ours.append(protocol.sample(session.run, inputs, number * CALLS, CALLS))
        if not number % 2:
            theirs.append(single_stream(session, inputs, folder))
    return ours, theirs


def single_stream(session: Session, inputs: list[Arrays], folder: Path) -> Row:
    """One SingleStream test of the load generator; its percentiles in ms."""

    def issue(queries: list[Any]) -> None:
        for query in queries:
            session.run(inputs[query.index])
            mlperf_loadgen.QuerySamplesComplete([mlperf_loadgen.QuerySampleResponse(query.id, 0, 0)])

    settings = mlperf_loadgen.TestSettings()
    settings.scenario = mlperf_loadgen.TestScenario.SingleStream
    settings.mode = mlperf_loadgen.TestMode.PerformanceOnly
    settings.min_duration_ms, settings.min_query_count, settings.max_query_count = 0, CALLS, CALLS
    logs = mlperf_loadgen.LogSettings()
    logs.log_output.outdir, logs.log_output.copy_summary_to_stdout = str(folder), False
    system = mlperf_loadgen.ConstructSUT(issue, lambda: None)
    library = mlperf_loadgen.ConstructQSL(FEEDS, FEEDS, lambda indices: None, lambda indices: None)
    try:
        mlperf_loadgen.StartTestWithLogSettings(system, library, settings, logs)
    finally:
        mlperf_loadgen.DestroyQSL(library)
        mlperf_loadgen.DestroySUT(system)
    said = {float(q): int(ns) / 1e6 for q, ns in _LINE.findall((folder / "mlperf_log_summary.txt").read_text())}
    return {name: said[100 * q] for name, q in PERCENTILES.items()}


def row_of(name: str, ours: list[list[float]], theirs: list[Row]) -> Row:
    """Ours and theirs for one percentile."""
    q = PERCENTILES[name]
    own = percentile_of_blocks(ours, q)
    other = float(np.median([said[name] for said in theirs]))
    ratio = ratio_of_medians([[said[name]] for said in theirs], [[float(np.quantile(block, q))] for block in ours])
    return {
        "percentile": name,
        "ours_ms": own.value,
        "ours_interval": [own.low, own.high],
        "theirs_ms": other,
        "inside": own.low is not None and own.high is not None and own.low <= other <= own.high,
        "ratio": ratio.value,
        "ratio_interval": [ratio.low, ratio.high],
        "n": sum(map(len, ours)),
    }


def claim(row: Row) -> claims.Claim:
    """How far the load generator's percentile is from ours, at most, in percent."""
    low, high = row["ratio_interval"]
    found = Interval(100 * abs(row["ratio"] - 1), 0.0, 100 * max(abs(low - 1), abs(high - 1)))
    return claims.make_claim("loadgen", f"{row['percentile']} differs from ours by", found, row["n"])


if __name__ == "__main__":
    main()
