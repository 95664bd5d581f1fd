from __future__ import annotations

from pathlib import Path

import pytest

from edgesmith.bench.runners import RUNNERS
from edgesmith.errors import EngineFailed, UsageError

EXPECTED = {
    "onnxruntime_perf_test": {"latency_ms": 1.85674, "load_ms": 10.2016, "first_ms": 2.0},
    "benchmark_model": {"latency_ms": 1240.27, "load_ms": 5.579, "first_ms": 1357.602},
    "executor_runner": {"latency_ms": 4.825},
    "benchncnn": {"latency_ms": 7.75},
}
WORDS = {"program": "/p", "model": "/m $(x) {runs}", "threads": "2", "runs": "9", "warmup": "3", "shape": "8,8,3"}


@pytest.mark.parametrize("name", RUNNERS.names())
def test_what_it_prints_is_read(name):
    output = (Path(__file__).with_name("printed") / f"{name}.txt").read_text()
    assert RUNNERS.get(name).read(output) == pytest.approx(EXPECTED[name])


@pytest.mark.parametrize("name", RUNNERS.names())
@pytest.mark.parametrize("output", ["", "Segmentation fault", "avg = nan", "P50 Latency: fast"])
def test_anything_else_is_refused(name, output):
    with pytest.raises(EngineFailed, match="does not parse"):
        RUNNERS.get(name).read(output)


@pytest.mark.parametrize("name", RUNNERS.names())
def test_a_word_stays_one_argument(name):
    argv = RUNNERS.get(name).command(**WORDS)
    assert argv[0] == "/p" and sum("/m $(x) {runs}" in word for word in argv) == 1
    assert any("9" in word for word in argv[1:]) and not any("{threads}" in word for word in argv)


def test_an_unknown_one_is_refused():
    with pytest.raises(UsageError, match="benchncnn"):
        RUNNERS.get("stopwatch")
