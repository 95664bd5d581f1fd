from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from edgesmith.bench import job as jobs
from edgesmith.bench.job import Candidate, Result, Schedule
from edgesmith.devices.null import NULL_INFO
from edgesmith.errors import DamagedArtifact, MissingResource, UsageError
from edgesmith.results import Latency, Measurement
from tests.bench.samples import X, Y, job, model, rows

BLOCKS = ((1.0, 1.5, 2.0, 2.5),) * 3


def result(**changes) -> Result:
    row = Measurement("a", "measured", latency=Latency(BLOCKS, 2))
    return Result(NULL_INFO, (dataclasses.replace(row, **changes),), "a", (1.0, 1.1), ("a",) * 3)


def test_a_job_comes_back_as_it_was_written(tmp_path):
    written = dataclasses.replace(job("a", "b"), candidates=(Candidate("a", "m", 2, "/py"), Candidate("b", "n")))
    jobs.write_job(tmp_path, written, rows())
    assert jobs.read_job(tmp_path) == written
    np.testing.assert_array_equal(jobs.read_inputs(tmp_path)["x"], rows()["x"])


def test_writing_a_job_removes_an_older_result(tmp_path):
    jobs.write_result(tmp_path, result())
    jobs.write_job(tmp_path, job("a"), rows())
    with pytest.raises(MissingResource):
        jobs.read_result(tmp_path, job("a"))


@pytest.mark.parametrize(
    "changes",
    [
        {"candidates": ()},
        {"candidates": (Candidate("a", "m"), Candidate("a", "n"))},
        {"reference": "z"},
        {"kind": "other"},
        {"inputs_are": "words"},
        {"batch": 0},
        {"timeout_s": 0},
        {"schedule": Schedule(blocks=0)},
        {"candidates": (Candidate("a", "m", threads=0),)},
        {"candidates": (Candidate("a", "../m"),)},
        {"candidates": (Candidate("a", "/m"),)},
    ],
)
def test_a_job_that_cannot_be_run_is_refused(changes):
    with pytest.raises(UsageError):
        jobs.check_job(dataclasses.replace(job("a"), **changes))


@pytest.mark.parametrize("inputs", [{}, {"x": np.ones((0, 2))}, {"x": np.ones(2), "y": np.ones(3)}])
def test_inputs_need_rows(tmp_path, inputs):
    with pytest.raises(UsageError):
        jobs.write_job(tmp_path, job("a"), inputs)


def test_a_result_comes_back_as_it_was_written(tmp_path):
    jobs.write_result(tmp_path, result())
    assert jobs.read_result(tmp_path, job("a")) == result()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"target": "b"}, "were asked"),
        ({"state": "fine"}, "unknown state"),
        ({"latency": None}, "blocks"),
        ({"latency": Latency(BLOCKS[:2], 2)}, "blocks"),
        ({"latency": Latency((*BLOCKS[:2], (1.0,)), 2)}, "blocks"),
        ({"latency": Latency((*BLOCKS[:2], (1.0, 1.0, 1.0, 0.0)), 2)}, "not times"),
        ({"latency": Latency((*BLOCKS[:2], (1.0, 1.0, 1.0, float("nan"))), 2)}, "not times"),
    ],
)
def test_a_result_that_is_not_what_was_asked_is_damage(tmp_path, changes, text):
    jobs.write_result(tmp_path, result(**changes))
    with pytest.raises(DamagedArtifact, match=text):
        jobs.read_result(tmp_path, job("a"))


def test_a_result_of_other_types_is_damage(tmp_path):
    jobs.write_result(tmp_path, result())
    data = json.loads((tmp_path / "result.json").read_text())
    for place, value in (("measurements", 3), ("measurements", [7]), ("sentinel_ms", "x"), ("device", [])):
        (tmp_path / "result.json").write_text(json.dumps({**data, place: value}))
        with pytest.raises(DamagedArtifact):
            jobs.read_result(tmp_path, job("a"))


def test_a_failed_row_needs_no_samples(tmp_path):
    jobs.write_result(tmp_path, result(state="failed", latency=None))
    assert jobs.read_result(tmp_path, job("a")).measurements[0].state == "failed"


@pytest.mark.parametrize(
    "arrays",
    [
        {"z": np.ones((3, 1), np.float32)},
        {"y": np.ones((2, 1), np.float32)},
        {"y": np.ones((3, 2), np.float32)},
        {"y": np.ones(3, np.float32)},
        {"y": np.ones((3, 1), np.float64)},
    ],
)
def test_outputs_other_than_promised_are_damage(tmp_path, arrays):
    exported = model(tmp_path / "m")
    assert (exported.inputs, exported.outputs) == ((X,), (Y,))
    jobs.write_arrays(tmp_path / "outputs-0.npz", "out:", arrays)
    with pytest.raises(DamagedArtifact):
        jobs.read_outputs(tmp_path, 0, exported, 3)


def test_a_pickle_is_not_loaded(tmp_path):
    np.savez(tmp_path / "outputs-0.npz", **{"out:y": np.array([{"a": 1}], dtype=object)})
    with pytest.raises(DamagedArtifact, match="allow_pickle"):
        jobs.read_arrays(tmp_path / "outputs-0.npz", "out:")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken", b"no zip"])
def test_a_broken_file_is_damage(tmp_path, content):
    (tmp_path / "f.npz").write_bytes(content)
    with pytest.raises(DamagedArtifact):
        jobs.read_arrays(tmp_path / "f.npz", "out:")


def test_a_tensor_may_be_called_file(tmp_path):
    jobs.write_arrays(tmp_path / "f.npz", "in:", {"file": np.ones(2), "a/b:c": np.zeros(2)})
    assert set(jobs.read_arrays(tmp_path / "f.npz", "in:")) == {"file", "a/b:c"}
