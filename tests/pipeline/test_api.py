from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import edgesmith
from edgesmith.errors import DamagedArtifact, UsageError
from edgesmith.pipeline.api import gather
from edgesmith.pipeline.produce import Bundle
from edgesmith.tensors import TensorSpec
from tests.models import tiny

TARGETS = ["ort-fp32", "ort-int8", "openvino-fp32", "coreml-fp16", "tensorrt-int8"]


def loader(batches: int = 8, size: int = 4) -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    for _ in range(batches):
        yield torch.randn(size, 3, 8, 8, generator=generator), torch.randn(size, 4, generator=generator)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Two inputs, two outputs and a dynamic batch, to every kind of target."""
    example = {"image": torch.zeros(2, 3, 8, 8), "context": torch.zeros(2, 4)}
    out = tmp_path_factory.mktemp("build")
    return edgesmith.convert(tiny("two"), example, TARGETS, calibration=loader(), out=out, dynamic_batch=True)


def test_every_target_is_there_or_has_its_reason(bundle: Bundle) -> None:
    assert list(bundle.exported) == ["torch-fp32", "ort-fp32", "ort-int8", "openvino-fp32", "coreml-fp16"]
    assert bundle.absent["tensorrt-int8"].state == "not_measured"
    assert "pip install" in bundle.absent["tensorrt-int8"].reason
    exported = bundle.exported["ort-int8"]
    assert [spec.shape for spec in exported.inputs] == [("batch", 3, 8, 8), ("batch", 4)]
    assert len(exported.outputs) == 2 and exported.plan_digest


def test_a_bundle_is_read_back_and_damage_is_named(bundle: Bundle, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(bundle.folder, copy)
    again = edgesmith.load(copy)
    assert isinstance(again, Bundle) and list(again.exported) == list(bundle.exported)
    (copy / "ort-fp32" / "model.onnx").write_bytes(b"damaged")
    with pytest.raises(DamagedArtifact, match=r"model\.onnx"):
        edgesmith.load(copy)


def test_check_judges_every_target_against_the_module(bundle: Bundle) -> None:
    required = ["ort-fp32", "ort-int8", "openvino-fp32"]
    table = edgesmith.check(
        bundle, against=tiny("two"), data=loader(), limits={"cosine": 0.9}, required=required, bench=False
    )
    states = {v.target: v.state for v in table.judgement.verdicts if v.check == "cosine"}
    assert all(states[name] == "pass" for name in required)
    assert table.exit_code == 0
    runs = {v.target: v.state for v in table.judgement.verdicts if v.check == "runs"}
    assert runs["coreml-fp16"] == runs["tensorrt-int8"] == "not_measured" or runs["coreml-fp16"] == "pass"


def test_check_fails_when_the_module_is_another_one(bundle: Bundle) -> None:
    other = tiny("two")
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.neg_()
    table = edgesmith.check(
        bundle, against=other, data=loader(), limits={"cosine": 0.9}, required=["ort-fp32"], bench=False
    )
    assert table.exit_code == 1


def test_labels_behind_the_inputs_make_it_accuracy(tmp_path: Path) -> None:
    net = tiny("linear")
    images = torch.randn(60, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        labels = net(images).argmax(1)
    made = edgesmith.convert(net, images[:1], ["ort-fp32"], out=tmp_path)
    batches = [(images[i : i + 20], labels[i : i + 20]) for i in range(0, 60, 20)]
    table = edgesmith.check(made, data=batches, limits={"accuracy_drop": 0.1}, bench=False)
    found = {a.target: a.estimate.value for a in table.judgement.accuracies if a.metric == "top1"}
    assert found == {"torch-fp32": 1.0, "ort-fp32": 1.0}
    assert table.exit_code == 0


def test_rows_of_labels_behind_the_inputs_make_it_map(tmp_path: Path) -> None:
    net = tiny("linear")
    images = torch.randn(60, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits = net(images)
    labels = (logits > logits.median(0).values).long()
    labels[::5, 0] = -1  # not annotated
    made = edgesmith.convert(net, images[:1], ["ort-fp32"], out=tmp_path)
    table = edgesmith.check(made, data=[(images, labels)], limits={"accuracy_drop": 0.1}, bench=False)
    assert {row.metric: row.estimate.value for row in table.judgement.accuracies} == {"mAP": 1.0}
    assert table.exit_code == 0 and "Accuracy: mAP" in str(table)
    (verdict,) = [v for v in table.judgement.verdicts if v.check == "accuracy_drop"]
    assert verdict.state == "pass" and verdict.found.startswith("mAP 0 (")


def test_int8_without_calibration_is_a_row_not_a_guess(tmp_path: Path) -> None:
    made = edgesmith.convert(tiny("linear"), torch.zeros(1, 3, 8, 8), ["ort-int8", "ort-fp32"], out=tmp_path)
    assert "calibration" in made.absent["ort-int8"].reason and "ort-fp32" in made.exported


class Unsupported(nn.Module):
    """A layer with an operator that ONNX and Core ML have no word for."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 4, 1)
        self.odd = Odd()

    def forward(self, x: Tensor) -> Tensor:
        return self.odd(self.body(x))


class Odd(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.special.bessel_j0(x)


def test_an_operator_no_target_takes_is_named_and_stops_no_other(tmp_path: Path) -> None:
    made = edgesmith.convert(Unsupported(), torch.zeros(1, 3, 8, 8), ["ort-fp32", "coreml-fp16"], out=tmp_path)
    assert list(made.exported) == ["torch-fp32"]
    for name in ("ort-fp32", "coreml-fp16"):
        assert made.absent[name].state == "failed"
        assert "bessel_j0" in made.absent[name].reason and "odd" in made.absent[name].reason


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"targets": ["ort-int9"]}, "ort-int9"),
        ({"inputs": {"x": np.zeros((1, 3, 8, 8))}, "targets": []}, "ndarray"),
        ({"targets": ["ort-int8"], "calibration": []}, "no batch"),
        ({"targets": ["ort-int8"], "calibration": [(1, 2, 3)]}, "3 values"),
    ],
)
def test_bad_arguments(tmp_path: Path, arguments: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        edgesmith.convert(**{"module": tiny("linear"), "inputs": torch.zeros(1, 3, 8, 8), "out": tmp_path, **arguments})


def test_no_data_is_no_evidence(bundle: Bundle) -> None:
    with pytest.raises(UsageError, match="no data"):
        edgesmith.check(bundle)


def test_a_misspelt_limit_is_refused(bundle: Bundle) -> None:
    with pytest.raises(UsageError, match="cosinus"):
        edgesmith.check(bundle, data=loader(), limits={"cosinus": 0.9}, bench=False)


def test_a_target_that_did_not_come_out_is_required_unless_told_otherwise(bundle: Bundle) -> None:
    assert edgesmith.check(bundle, data=loader(), bench=False).exit_code == 3


def test_numbers_of_another_type_are_not_cast_in_silence() -> None:
    spec = TensorSpec("x", ("batch", 3))
    with pytest.raises(UsageError, match=r"of type float32: the data has uint8 \(4, 3\)"):
        gather([torch.zeros(4, 3, dtype=torch.uint8)], [spec])
    with pytest.raises(UsageError, match="of type int64: the data has float32"):
        gather([{"ids": torch.ones(4, 3)}], [TensorSpec("ids", ("batch", 3), "int64")])
    given = gather([torch.ones(4, 3, dtype=torch.float64)], [spec])  # one kind of float for another is no mistake
    assert given.arrays["x"].dtype == np.float32


def test_a_module_that_answers_at_random_is_named(tmp_path: Path) -> None:
    class Noise(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + torch.randn_like(x)

    noisy = torch.nn.Sequential(Noise(), tiny("linear"))
    with pytest.raises(UsageError, match="answers differently each time"):
        edgesmith.convert(noisy, torch.randn(1, 3, 8, 8), ("ort-fp32",), out=tmp_path)
