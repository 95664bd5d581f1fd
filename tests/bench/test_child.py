from __future__ import annotations

import os
import resource
import sys

import numpy as np
import pytest

from edgesmith.bench import child as children
from edgesmith.bench import job as jobs
from edgesmith.bench.pipe import Child
from edgesmith.bench.worker import _environment
from edgesmith.errors import EngineFailed, MissingPackage, MissingResource
from tests.bench.samples import job, model, rows, sums


def start(folder, kind="latency", **options) -> Child:
    model(folder / "model-0", **options)
    jobs.write_job(folder, job("a", kind=kind), rows())
    argv = [sys.executable, "-m", "edgesmith.bench.child", str(folder), "0"]
    return Child(argv, _environment(1), folder / "log")


def test_a_latency_candidate_step_by_step_with_a_vendor_that_prints(tmp_path):
    started = start(tmp_path, accident="print")
    loaded = started.ask({"do": "load"}, 60)
    assert len(loaded["load_ms"]) == 2 and min(loaded["load_ms"]) > 0
    assert (loaded["engine"], loaded["precision"], loaded["version"], loaded["batch"]) == ("null", "fp32", "1", 1)
    warm = started.ask({"do": "warm"}, 60)
    assert warm["first_ms"] > 0 and 2 <= warm["warmup"] <= 20
    assert len(started.ask({"do": "block"}, 60)["samples_ms"]) == 4
    assert started.ask({"do": "finish"}, 60)["peak_bytes"] > 1 << 20
    assert "a vendor's line" in started.last_lines()
    started.end()


def test_outputs_of_every_row(tmp_path):
    started = start(tmp_path, kind="outputs")
    assert len(started.ask({"do": "load"}, 60)["load_ms"]) == 1
    assert started.ask({"do": "outputs"}, 60)["rows"] == 5
    started.end()
    np.testing.assert_array_equal(jobs.read_arrays(tmp_path / "outputs-0.npz", "out:")["y"], sums(rows()))


def test_a_damaged_model_is_not_opened(tmp_path):
    started = start(tmp_path)
    with (tmp_path / "model-0" / "model.null").open("a") as file:
        file.write(" ")
    answer = started.ask({"do": "load"}, 60)
    started.end()
    assert answer["state"] == "failed" and "checksum" in answer["reason"]


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (MissingPackage("a", "b", "c"), "not_measured"),
        (MissingResource("a", "b", "c"), "not_measured"),
        (EngineFailed("a", "b", "c"), "failed"),
        (ZeroDivisionError("of its own"), "failed"),
    ],
)
def test_errors_become_states(error, state):
    def act():
        raise error

    answer = children.answer(act)
    assert answer["state"] == state and str(error) in answer["reason"]


def test_the_peak_grows_with_what_is_allocated():
    before = children.peak_bytes()
    block = np.ones(max(0, before) // 8 + (1 << 22))
    assert children.peak_bytes() >= before + (1 << 24) and block[0] == 1
    assert children.peak_bytes() <= resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 * 1.1


def test_the_thread_count_is_in_the_environment():
    environment = _environment(3)
    assert environment["OMP_NUM_THREADS"] == environment["MKL_NUM_THREADS"] == "3"
    assert environment["PATH"] == os.environ["PATH"]
