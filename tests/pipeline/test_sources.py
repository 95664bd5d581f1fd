from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from edgesmith.data.split import Data, Split
from edgesmith.errors import DamagedArtifact, MissingPackage, MissingResource, UntrustedFile, UsageError
from edgesmith.pipeline.options import spec_problems
from edgesmith.pipeline.sources import (
    Source,
    Trust,
    check_data,
    model_from_spec,
    open_model,
    read_inputs,
    read_preprocessing,
    with_inputs,
)
from edgesmith.tensors import Preprocessing, TensorSpec
from tests.models import tiny

PLAIN = Preprocessing((8, 8), (0.5,) * 3, (0.5,) * 3)


def test_a_factory_of_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_models.py").write_text("from tests.models import tiny\ndef net(): return tiny('linear')\n")
    monkeypatch.chdir(tmp_path)
    source = with_inputs(open_model("my_models:net"), ["x:1,3,8,8"], None)
    assert source.inputs == (TensorSpec("x", (1, 3, 8, 8)),)
    assert source.module(torch.zeros(1, 3, 8, 8)).shape == (1, 5)


def test_a_recipe_may_not_name_code_unless_allowed() -> None:
    with pytest.raises(UsageError, match="allow-import"):
        model_from_spec({"use": "tests.models:ConvBnRelu"}, Trust())
    assert model_from_spec({"use": "tests.models:ConvBnRelu"}, Trust(imports=True)).name == "ConvBnRelu"


def test_a_saved_program_knows_its_inputs(tmp_path: Path) -> None:
    program = torch.export.export(tiny("two"), (torch.zeros(2, 3, 8, 8), torch.zeros(2, 4)))
    torch.export.save(program, tmp_path / "two.pt2")
    source = open_model(str(tmp_path / "two.pt2"))
    assert [(spec.name, spec.shape) for spec in source.inputs] == [("image", (2, 3, 8, 8)), ("context", (2, 4))]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("nothing", UsageError), ("none.pt2", MissingResource), ("no.such.module:net", MissingPackage),
        ("tests.models:Nothing", UsageError), ("builtins:dict", UsageError),
    ],
)  # fmt: skip
def test_models_that_are_not_there(text: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        open_model(text)


def test_a_model_without_shapes_asks_for_them() -> None:
    with pytest.raises(UsageError, match="--input"):
        with_inputs(open_model("tests.models:ConvBnRelu"), [], None)
    with pytest.raises(UsageError, match="1,3,224,224"):
        with_inputs(open_model("tests.models:ConvBnRelu"), ["x:a,b"], None)
    assert with_inputs(open_model("tests.models:ConvBnRelu"), [], PLAIN).inputs[0].shape == (1, 3, 8, 8)


def test_preprocessing_from_options_and_from_a_file(tmp_path: Path) -> None:
    expected = Preprocessing((112, 96), (0.5, 0.4, 0.3), (0.2, 0.2, 0.2), "bgr")
    assert read_preprocessing(None, "112,96", "0.5,0.4,0.3", "0.2,0.2,0.2", "bgr") == expected
    file = tmp_path / "prep.yaml"
    file.write_text("size: [112, 96]\nmean: [0.5, 0.4, 0.3]\nstd: [0.2, 0.2, 0.2]\ncolor: bgr\n")
    assert read_preprocessing(file, None, None, None, None) == expected
    assert read_preprocessing(None, None, None, None, None) is None
    with pytest.raises(UsageError, match="--mean, --std"):
        read_preprocessing(None, "112", None, None, None)
    with pytest.raises(UsageError, match="color"):
        read_preprocessing(None, "112", "0.5", "0.5", "pink")


def test_inputs_of_each_kind(tmp_path: Path) -> None:
    specs = (TensorSpec("x", (1, 3, 8, 8)),)
    made = read_inputs("random:7", specs, None, strict=False)
    assert made.count == 7 and made.arrays["x"].shape == (7, 3, 8, 8) and "nothing about real data" in made.warning
    np.savez(tmp_path / "a.npz", x=np.zeros((4, 3, 8, 8), np.float32))
    assert read_inputs(str(tmp_path / "a.npz"), specs, None, strict=False).count == 4
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(3):
        Image.new("RGB", (20, 10), (index, 0, 0)).save(folder / f"{index}.png")
    (folder / "broken.png").write_bytes(b"not a picture")
    found = read_inputs(str(folder), specs, PLAIN, strict=False)
    assert found.images and found.count == 3 and found.skipped == ("broken.png",)
    with pytest.raises(DamagedArtifact, match=r"broken\.png"):
        read_inputs(str(folder), specs, PLAIN, strict=True)
    with pytest.raises(UsageError, match="--preprocess"):
        read_inputs(str(folder), specs, None, strict=False)


@pytest.mark.parametrize(
    ("text", "error"), [("random:0", UsageError), ("random:x", UsageError), ("nowhere", MissingResource)]
)
def test_inputs_that_are_not_there(text: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        read_inputs(text, (TensorSpec("x", (1, 3)),), None, strict=False)


def test_only_the_user_may_trust_a_pickle(tmp_path: Path) -> None:
    weights = tmp_path / "weights.pt"
    net = model_from_spec({"use": "resnet", "width": 8}, Trust()).module
    torch.save(net.state_dict(), weights)
    spec = {"use": "resnet", "width": 8, "weights": str(weights)}
    with pytest.raises(UntrustedFile):
        model_from_spec(spec, Trust())
    assert model_from_spec(spec, Trust(pickle=True)).name == "resnet"
    assert "trust_pickle: no such option" in spec_problems("model", {**spec, "trust_pickle": True}, "model")[0]


def test_data_that_do_not_fit_the_model_are_named_before_anything_is_trained() -> None:
    inputs = (TensorSpec("photos", (1, 5, 8, 8, 3), "uint8"), TensorSpec("mask", (1, 5), "uint8"))
    source = Source("album", tiny("linear"), inputs, labels=("a", "b"))

    def data(places: int, classes: tuple[str, ...]) -> Data:
        arrays = {"photos": np.zeros((2, places, 8, 8, 3), np.uint8), "mask": np.ones((2, places), np.uint8)}
        return Data("albums", "", None, classes, None, Split(arrays), None)

    check_data(source, data(5, ("a", "b")))
    check_data(source, data(5, ("other", "names")))
    with pytest.raises(UsageError, match=r"\(3, 8, 8, 3\) a sample, the model takes \(5, 8, 8, 3\)"):
        check_data(source, data(3, ("a", "b")))
    with pytest.raises(UsageError, match="in one order"):
        check_data(source, data(5, ("b", "a")))
