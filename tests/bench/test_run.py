from __future__ import annotations

import json
import sys
from dataclasses import replace

import numpy as np
import pytest

from edgesmith.artifact import Exported
from edgesmith.bench.job import Schedule
from edgesmith.bench.run import infer, measure
from edgesmith.devices.device import Completed
from edgesmith.devices.local import LocalDevice
from edgesmith.devices.null import NullDevice
from edgesmith.errors import DamagedArtifact, EngineFailed, MissingResource, UsageError
from edgesmith.tensors import TensorSpec
from tests.bench.samples import QUICK, model, rows, sums


@pytest.fixture
def models(tmp_path):
    return {"a-fp32": model(tmp_path / "a"), "b-int8": model(tmp_path / "b", delay_ms=3.0)}


@pytest.mark.parametrize("rooted", [False, True])
def test_measured_and_ordered_by_their_real_times(tmp_path, models, rooted):
    device = LocalDevice("bench", root=tmp_path / "device" if rooted else None)
    said: list[str] = []
    record = measure(device, tmp_path / "job", models, rows(), QUICK, "a-fp32", progress=said.append)
    assert [row.target for row in record.measurements] == ["a-fp32", "b-int8"]
    assert record.reference == "a-fp32" and record.device.name == "bench"
    fast, slow = (row.latency.samples_ms for row in record.measurements)
    assert len(fast) == len(slow) == QUICK.blocks * QUICK.block_size
    assert min(slow) > 3.0  # it sleeps that long
    assert "round 3 of 3" in said
    assert {path.name for path in (tmp_path / "job").iterdir()} == {
        "job.json",
        "result.json",
        "candidate-0.log",
        "candidate-1.log",
    }
    assert not rooted or not list((tmp_path / "device").iterdir())


def test_outputs_or_the_reason(tmp_path, models):
    broken = model(tmp_path / "c", accident="kill", at=1)
    absent = model(tmp_path / "d", accident="no-package")
    many = {**models, "c": broken, "d": absent}
    answers = infer(LocalDevice(root=tmp_path / "device"), tmp_path / "job", many, rows(), images=False, batch=2)
    for name in models:
        np.testing.assert_array_equal(answers[name]["y"], sums(rows()))
    assert "SIGKILL" in answers["c"].reason and "package is absent" in answers["d"].reason
    assert not list((tmp_path / "job").glob("*.npz"))


def test_a_candidate_may_have_its_own_interpreter(tmp_path, models):
    script = tmp_path / "python"
    script.write_text(f'#!/bin/sh\ntouch "{tmp_path}/used"\nexec {sys.executable} "$@"\n')
    script.chmod(0o755)
    pythons = {"b-int8": str(script)}
    record = measure(LocalDevice(), tmp_path / "job", models, rows(), QUICK, "a-fp32", pythons=pythons)
    assert [row.state for row in record.measurements] == ["measured", "measured"]
    assert (tmp_path / "used").exists()
    with pytest.raises(UsageError, match="nobody"):
        measure(LocalDevice(), tmp_path / "job", models, rows(), QUICK, "a-fp32", pythons={"nobody": "x"})


def test_a_model_without_a_record_is_a_usage_error(tmp_path):
    loose = Exported("x", "null", "fp32", "model.null", (TensorSpec("x", (1,)),), (), root=tmp_path)
    with pytest.raises(UsageError, match="seal it"):
        infer(LocalDevice(), tmp_path / "job", {"x": loose}, rows(), images=False)


def test_nothing_to_run_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError):
        infer(LocalDevice(), tmp_path / "job", {}, rows(), images=False)


def test_a_worker_that_does_not_end_is_an_engine_failure(tmp_path):
    hanging = {"a": model(tmp_path / "a", accident="hang", at=1)}
    with pytest.raises(EngineFailed, match="no end after 2 s"):
        measure(LocalDevice(), tmp_path / "job", hanging, rows(), Schedule(1, 1, 1), "a", timeout_s=2)


def python_answers(completed: Completed, root) -> NullDevice:
    device = NullDevice(root)
    device.answers = {device.python.rsplit("/", 1)[-1]: completed}
    return device


def test_a_worker_that_fails_is_an_engine_failure_with_its_last_words(tmp_path, models):
    device = python_answers(Completed(1, "", "no module named numpy"), tmp_path / "device")
    with pytest.raises(EngineFailed, match="no module named numpy"):
        measure(device, tmp_path / "job", models, rows(), QUICK, "a-fp32")
    assert not list((tmp_path / "device").iterdir())


def test_a_worker_that_leaves_no_result_is_a_missing_resource(tmp_path, models):
    device = python_answers(Completed(0, "", ""), tmp_path / "device")
    with pytest.raises(MissingResource, match="result"):
        measure(device, tmp_path / "job", models, rows(), QUICK, "a-fp32")


def test_a_device_that_answers_nonsense_is_found_out(tmp_path, models):
    class Liar(NullDevice):
        def pull(self, remote, local):
            super().pull(remote, local)
            if local.name == "result.json":
                data = json.loads(local.read_text())
                data["measurements"] = data["measurements"][:1]
                local.write_text(json.dumps(data))

    with pytest.raises(DamagedArtifact, match="were asked"):
        measure(Liar(tmp_path / "device"), tmp_path / "job", models, rows(), QUICK, "a-fp32")


def test_a_runtime_that_the_device_file_leaves_out_is_a_row(tmp_path):
    exported = {"far": replace(model(tmp_path / "m1"), runtime="torch"), "near": model(tmp_path / "m2")}
    device = LocalDevice("pi", runtimes=("null",))
    record = measure(device, tmp_path / "job", exported, rows(), QUICK, "far")
    assert [row.state for row in record.measurements] == ["not_measured", "measured"] and record.reference == "far"
    assert record.measurements[0].reason == "the device file lets null run on pi, and not torch"
    record = measure(LocalDevice("pi", runtimes=("ort",)), tmp_path / "job", exported, rows(), QUICK, "far")
    assert [row.state for row in record.measurements] == ["not_measured"] * 2 and record.device.name == "pi"
