from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from edgesmith.errors import EngineFailed, MissingResource, UsageError
from edgesmith.runtimes.openvino import OpenVinoRuntime
from edgesmith.runtimes.ort import OrtRuntime
from edgesmith.runtimes.session import RunOptions
from edgesmith.tensors import random_feed
from tests.runtimes.samples import conv_file, expected, ir_file, make, qdq_file

HAS_BF16 = "avx512_bf16" in Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else False


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    return make("openvino", tmp_path_factory.mktemp("openvino") / "model")


@pytest.fixture(scope="module")
def conv(tmp_path_factory):
    folder = tmp_path_factory.mktemp("conv")
    source = conv_file(folder / "conv.onnx")
    return OpenVinoRuntime.describe(ir_file(folder / "conv.xml", source)), OrtRuntime.describe(source)


def test_outputs_and_taps_are_what_the_graph_says(sample):
    with OpenVinoRuntime.open(sample.exported, RunOptions(threads=2)) as session:
        feed = random_feed(session.inputs, 3, batch=2)
        answer = session.run(feed, taps=("mid", "pooled"))
    for name, array in expected(feed).items():
        np.testing.assert_allclose(answer[name], array, rtol=1e-6, atol=1e-6)


def test_inputs_go_by_name_not_by_order(sample):
    turned = dataclasses.replace(
        sample.exported, inputs=sample.exported.inputs[::-1], outputs=sample.exported.outputs[::-1]
    )
    with OpenVinoRuntime.open(turned, RunOptions()) as session:
        feed = random_feed(session.inputs, 3, batch=2)
        answer = session.run(feed)
    np.testing.assert_allclose(answer["pooled"], expected(feed)["pooled"], rtol=1e-6, atol=1e-6)


def test_fp32_is_computed_in_fp32(conv):
    mine, other = conv
    feed = random_feed(mine.inputs, 0)
    with OpenVinoRuntime.open(mine, RunOptions()) as session, OrtRuntime.open(other, RunOptions()) as reference:
        assert session.precision == "fp32" and "f32" in session.engine
        np.testing.assert_allclose(session.run(feed)["y"], reference.run(feed)["y"], rtol=1e-4, atol=1e-4)


@pytest.mark.skipif(not HAS_BF16, reason="cpu: it has no bf16")
def test_bf16_is_declared_and_really_bf16(conv):
    mine, other = conv
    feed = random_feed(mine.inputs, 0)
    declared = dataclasses.replace(mine, precision="bf16")
    with OpenVinoRuntime.open(declared, RunOptions()) as session, OrtRuntime.open(other, RunOptions()) as reference:
        assert session.precision == "bf16"
        error = np.abs(session.run(feed)["y"] - reference.run(feed)["y"]).max()
    assert 1e-3 < error < 1.0


def test_a_quantized_convolution_is_reported_as_int8(tmp_path):
    found = OpenVinoRuntime.describe(ir_file(tmp_path / "m.xml", qdq_file(tmp_path / "m.onnx")))
    assert found.precision == "int8"
    with OpenVinoRuntime.open(found, RunOptions()) as session:
        assert session.precision == "int8"


def test_what_is_called_int8_but_is_not_is_reported_as_it_is(conv):
    with OpenVinoRuntime.open(dataclasses.replace(conv[0], precision="int8"), RunOptions()) as session:
        assert session.precision == "fp32"


def test_an_unknown_precision_is_a_usage_error(conv):
    with pytest.raises(UsageError, match="fp64"):
        OpenVinoRuntime.open(dataclasses.replace(conv[0], precision="fp64"), RunOptions())


def test_a_file_that_is_no_model_is_refused(tmp_path, conv):
    (tmp_path / "conv.xml").write_text("<net")
    with pytest.raises(EngineFailed, match="openvino"):
        OpenVinoRuntime.open(dataclasses.replace(conv[0], root=tmp_path), RunOptions())


def test_the_weights_must_be_beside_the_graph(tmp_path, conv):
    assert OpenVinoRuntime.companions(conv[0].file) == (conv[0].file.with_suffix(".bin"),)
    (tmp_path / "lonely.xml").touch()
    with pytest.raises(MissingResource, match=r"lonely\.bin"):
        OpenVinoRuntime.companions(tmp_path / "lonely.xml")
