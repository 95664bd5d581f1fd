from __future__ import annotations

import dataclasses

import numpy as np
import onnx
import pytest

from edgesmith.artifact import load_exported, save_exported
from edgesmith.bench.adopt import adopt
from edgesmith.bench.run import infer, measure
from edgesmith.devices.local import LocalDevice
from edgesmith.errors import EngineFailed, MissingResource, UsageError
from edgesmith.tensors import Preprocessing, random_feed
from tests.bench.samples import QUICK
from tests.runtimes.samples import conv_file, expected, ir_file, onnx_file


def test_an_onnx_file_and_its_ir_are_run_side_by_side(tmp_path):
    source = onnx_file(tmp_path / "net.onnx")
    ir_file(tmp_path / "net.xml", source)
    models = {kind: adopt(tmp_path / f"net.{kind}", tmp_path / "in" / kind) for kind in ("onnx", "xml")}
    assert {path.name for path in models["xml"].root.iterdir()} == {"net.xml", "net.bin", "artifact.json"}
    feed = random_feed(models["onnx"].inputs, 1, batch=5)
    answers = infer(LocalDevice(), tmp_path / "job", models, feed, images=False, batch=2)
    for outputs in answers.values():
        np.testing.assert_allclose(outputs["mixed"], expected(feed)["mixed"], rtol=1e-5, atol=1e-5)
    record = measure(LocalDevice(), tmp_path / "job", models, feed, QUICK, "onnx")
    assert [(row.state, row.precision) for row in record.measurements] == [("measured", "fp32")] * 2
    assert record.measurements[0].engine.startswith("onnxruntime")


def test_weights_beside_an_onnx_file_come_along(tmp_path):
    model = onnx.load(str(conv_file(tmp_path / "net.onnx")))
    onnx.save(model, str(tmp_path / "net.onnx"), save_as_external_data=True, location="w.data", size_threshold=0)
    found = adopt(tmp_path / "net.onnx", tmp_path / "in")
    assert {path.name for path in found.root.iterdir()} == {"net.onnx", "w.data", "artifact.json"}
    assert load_exported(tmp_path / "in").inputs[0].shape == (1, 3, 8, 8)


def test_images_reach_a_model_of_a_fixed_batch_one_by_one(tmp_path):
    found = adopt(conv_file(tmp_path / "net.onnx"), tmp_path / "in")
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    picture = Preprocessing((8, 8), (0.5,) * 3, (0.5,) * 3)
    answers = infer(LocalDevice(), tmp_path / "job", {"m": found}, {"image": images}, images=True, batch=4)
    assert "preprocessing is not known" in answers["m"].reason

    known = save_exported(found.root, dataclasses.replace(found, preprocessing=picture), None)
    answers = infer(LocalDevice(), tmp_path / "job", {"m": known}, {"image": images}, images=True, batch=4)
    tensors = {"image": picture.apply(images)}
    same = infer(LocalDevice(), tmp_path / "job", {"m": known}, tensors, images=False)
    assert answers["m"]["y"].shape == (3, 64, 6, 6)
    np.testing.assert_array_equal(answers["m"]["y"], same["m"]["y"])


def test_an_unknown_suffix_lists_the_known_ones(tmp_path):
    (tmp_path / "net.h5").touch()
    with pytest.raises(UsageError, match=r"\.mlpackage, \.onnx"):
        adopt(tmp_path / "net.h5", tmp_path / "in")


def test_an_absent_file(tmp_path):
    with pytest.raises(MissingResource):
        adopt(tmp_path / "net.onnx", tmp_path / "in")


def test_an_ir_without_its_weights(tmp_path):
    ir_file(tmp_path / "net.xml", onnx_file(tmp_path / "net.onnx"))
    (tmp_path / "net.bin").unlink()
    with pytest.raises(MissingResource, match=r"net\.bin"):
        adopt(tmp_path / "net.xml", tmp_path / "in")


def test_a_file_that_is_no_model_leaves_nothing_behind(tmp_path):
    (tmp_path / "net.onnx").write_bytes(b"\x00\x01 no model")
    with pytest.raises(EngineFailed, match=r"net\.onnx"):
        adopt(tmp_path / "net.onnx", tmp_path / "in")
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]
