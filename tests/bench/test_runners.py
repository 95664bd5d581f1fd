from __future__ import annotations

from pathlib import Path

import pytest

from edgesmith.bench.runners import RUNNERS
from edgesmith.errors import EngineFailed, UsageError

EXPECTED = {
    "onnxruntime_perf_test": {"latency_ms": 99.5086, "load_ms": 217.932, "first_ms": 196},
    "onnxruntime_perf_test-1.14": {"latency_ms": 16.7086, "load_ms": 27.3071, "first_ms": 20},
    "benchmark_model": {"latency_ms": 1240.27, "load_ms": 5.579, "first_ms": 1357.602},
    "benchmark_model-2.4": {"latency_ms": 2950.34, "load_ms": 17.187, "first_ms": 3512.391},
    "executor_runner": {"latency_ms": 18.625 / 3, "load_ms": 8.700215, "first_ms": 9.614001},
    "executor_runner-0.6": {"latency_ms": 4.825},
    "benchncnn": {"latency_ms": 7.75},
}
PRINTED = Path(__file__).with_name("printed")
WORDS = {"program": "/p", "model": "/m $(x) {runs}", "threads": "2", "runs": "9", "warmup": "3", "shape": "[8,8,3]"}


@pytest.mark.parametrize("file", EXPECTED)
def test_what_it_prints_is_read(file):
    output = (PRINTED / f"{file}.txt").read_text()
    assert RUNNERS.get(file.partition("-")[0]).read(output) == pytest.approx(EXPECTED[file])


def test_every_runner_has_a_sample():
    assert set(RUNNERS.names()) <= set(EXPECTED)


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("executor_runner-release", "does not parse: .*EXECUTORCH_ENABLE_LOGGING=ON"),
        ("benchncnn-refused", "input 2 tensors while model has 1 inputs"),
    ],
)
def test_an_output_without_times_says_what_to_look_at(file, said):
    with pytest.raises(EngineFailed, match=said):
        RUNNERS.get(file.partition("-")[0]).read((PRINTED / f"{file}.txt").read_text())


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
