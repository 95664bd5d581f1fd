from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from edgesmith.bench.job import Schedule
from edgesmith.bench.run import infer, measure
from edgesmith.devices.local import LocalDevice
from edgesmith.errors import EngineFailed
from edgesmith.runtimes.coreml import CoreMLRuntime
from edgesmith.runtimes.session import RunOptions, is_timed
from edgesmith.tensors import random_feed
from tests.models import tiny
from tests.runtimes.samples import make


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    return make("coreml", tmp_path_factory.mktemp("coreml") / "model")


def test_a_package_is_described_on_every_system(sample):
    found = CoreMLRuntime.describe(sample.exported.file)
    for promised, described in zip(
        (*sample.exported.inputs, *sample.exported.outputs), (*found.inputs, *found.outputs), strict=True
    ):
        assert (described.name, described.dtype, described.dynamic) == (promised.name, promised.dtype, True)
        assert described.concrete(3) == promised.concrete(3)
    assert found.precision == "fp32"


@pytest.mark.skipif(sys.platform == "darwin", reason="linux: shows what happens elsewhere than on macOS")
def test_elsewhere_than_on_macos_the_interpreter_answers_what_the_module_does(sample):
    feed = random_feed(sample.exported.inputs, batch=2)
    with CoreMLRuntime.open(sample.exported, RunOptions()) as session:
        assert session.engine == "mil-reference" and not is_timed(session)
        answer = session.run(feed)
    with torch.inference_mode():
        score, pooled = tiny("two")(*(torch.from_numpy(array) for array in feed.values()))
    np.testing.assert_allclose(answer["score"], score.numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(answer["pooled"], pooled.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.skipif(sys.platform == "darwin", reason="linux: shows what happens elsewhere than on macOS")
def test_the_interpreter_is_never_timed_and_the_record_names_it(sample, tmp_path):
    feed = random_feed(sample.exported.inputs, batch=2)
    device, named = LocalDevice(), {"coreml-fp32": sample.exported}
    record = measure(device, tmp_path / "timed", named, feed, Schedule(1, 2, 2), "coreml-fp32")
    (row,) = record.measurements
    assert (row.state, row.engine, row.latency, row.load_ms) == ("not_measured", "mil-reference", None, ())
    assert "interpreter" in row.reason
    outputs = infer(device, tmp_path / "outputs", named, feed, images=False)["coreml-fp32"]
    assert outputs["score"].shape == (2, 5)


def test_a_folder_that_is_no_package_is_refused(tmp_path):
    (tmp_path / "empty.mlpackage").mkdir()
    with pytest.raises(EngineFailed):
        CoreMLRuntime.describe(tmp_path / "empty.mlpackage")
