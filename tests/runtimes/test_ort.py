from __future__ import annotations

import dataclasses

import numpy as np
import onnx
import pytest

from edgesmith.errors import EngineFailed, MissingResource, UsageError
from edgesmith.runtimes.ort import OrtRuntime
from edgesmith.runtimes.session import RunOptions
from edgesmith.tensors import random_feed
from tests.runtimes.samples import conv_file, expected, make, qdq_file


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    return make("ort", tmp_path_factory.mktemp("ort") / "model")


def test_outputs_and_taps_are_what_the_graph_says(sample):
    with OrtRuntime.open(sample.exported, RunOptions(threads=2)) as session:
        feed = random_feed(session.inputs, 3, batch=2)
        answer = session.run(feed, taps=("mid",))
    for name, array in expected(feed).items():
        np.testing.assert_allclose(answer[name], array, rtol=1e-6, atol=1e-6)


def test_an_input_can_be_tapped(sample):
    with OrtRuntime.open(sample.exported, RunOptions()) as session:
        feed = random_feed(session.inputs, 3, batch=2)
        np.testing.assert_array_equal(session.run(feed, taps=("image",))["image"], feed["image"])


def test_tapping_leaves_the_file_as_it_is(sample):
    before = sample.exported.file.read_bytes()
    with OrtRuntime.open(sample.exported, RunOptions()) as session:
        session.run(random_feed(session.inputs), taps=("mid",))
    assert sample.exported.file.read_bytes() == before
    assert {p.name for p in sample.exported.root.iterdir()} == {"model.onnx", "artifact.json"}


def test_a_file_that_is_no_model_is_refused(tmp_path, sample):
    (tmp_path / "model.onnx").write_bytes(b"not a model")
    with pytest.raises(EngineFailed, match="onnxruntime"):
        OrtRuntime.open(dataclasses.replace(sample.exported, root=tmp_path), RunOptions())


def test_the_precision_of_a_foreign_file(tmp_path):
    assert OrtRuntime.describe(conv_file(tmp_path / "float.onnx")).precision == "fp32"
    assert OrtRuntime.describe(qdq_file(tmp_path / "int8.onnx")).precision == "int8"


def _with_outside_weights(folder, location: str):
    model = onnx.load(str(conv_file(folder / "model.onnx")))
    onnx.save(model, str(folder / "model.onnx"), save_as_external_data=True, location="weights.bin", size_threshold=0)
    if location != "weights.bin":
        model = onnx.load(str(folder / "model.onnx"), load_external_data=False)
        for tensor in model.graph.initializer:
            next(entry for entry in tensor.external_data if entry.key == "location").value = location
        (folder / "model.onnx").write_bytes(model.SerializeToString())
    return folder / "model.onnx"


def test_weights_outside_the_file_belong_to_it(tmp_path):
    file = _with_outside_weights(tmp_path, "weights.bin")
    assert [path.name for path in OrtRuntime.companions(file)] == ["weights.bin"]


def test_weights_outside_the_folder_are_refused(tmp_path):
    with pytest.raises(UsageError, match="outside its folder"):
        OrtRuntime.companions(_with_outside_weights(tmp_path, "../secret.bin"))


def test_absent_weights_are_a_missing_resource(tmp_path):
    file = _with_outside_weights(tmp_path, "weights.bin")
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(MissingResource, match=r"weights\.bin"):
        OrtRuntime.companions(file)
