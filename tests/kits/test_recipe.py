"""First recipes: every combination of answers is accepted, options in comments too, and odd names stay names."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

from edgesmith.errors import MissingResource, UsageError
from edgesmith.kits.recipe import Answers, options_of, recipe_text
from edgesmith.pipeline.recipe import read_recipe
from edgesmith.targets import TARGETS

MODELS = (("mobilefacenet", "resnet"), ("mobilefacenet", "none"), ("timm:resnet18", "none"), ("net:make", "none"))


def photos(folder: Path) -> str:
    for name in ("cat", "dog: # {x}", ".hidden"):
        (folder / "photos: 'a'" / name).mkdir(parents=True)
    return str(folder / "photos: 'a'")


@pytest.mark.parametrize(("model", "teacher"), MODELS)
@pytest.mark.parametrize("data", ["digits", "folder"])
def test_every_recipe_is_accepted_with_and_without_its_options(
    tmp_path: Path, data: str, model: str, teacher: str
) -> None:
    where = photos(tmp_path) if data == "folder" else data
    targets = tuple(name for name in TARGETS if name != "torch-fp32")
    file = tmp_path / "my recipe.yaml"
    text = recipe_text(Answers(where, model, teacher, targets, 0.01), file)
    uncommented = re.sub(r"^( *)#(\w+:)", r"\1\2", text, flags=re.MULTILINE)
    assert uncommented != text
    for version in (text, uncommented):
        file.write_text(version)
        recipe = read_recipe(file)
        assert recipe.name == "my recipe" and recipe.limits == {"accuracy_drop": 0.01}
        assert recipe.model["classes"] == (2 if data == "folder" else 10)
        assert set(recipe.targets.all) == {"torch-fp32", *targets}
        assert not any(name.startswith("coreml") for name in recipe.targets.required)
        assert recipe.data == (
            {"use": "folder", "root": where} | ({"strict": True} if version != text else {})
            if data == "folder"
            else {"use": "digits"}
        )
        assert len(recipe.train) == (2 if teacher == "resnet" else 1)


def test_answers_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    (tmp_path / "flat").mkdir()
    bad = {
        "model": "lenet", "teacher": "oracle", "targets": "ort-int8,abacus", "max_drop": "much",
    }  # fmt: skip
    good = {"data": "digits", "model": "mobilefacenet", "teacher": "none", "targets": "ort-int8", "max_drop": "0.03"}
    for key, value in bad.items():
        with pytest.raises(UsageError, match=value.split(",")[-1]):
            recipe_text(options_of(good | {key: value}), Path("r.yaml"))
    for values in ({"targets": ""}, {"max_drop": "1.5"}, {"max_drop": "nan"}, {"model": "timm:x", "teacher": "resnet"}):
        with pytest.raises(UsageError):
            recipe_text(options_of(good | values), Path("r.yaml"))
    for folder, word in ((tmp_path / "flat", "0 sub-folders"), (tmp_path / "none", "no such folder")):
        with pytest.raises(MissingResource, match=word):
            recipe_text(options_of(good | {"data": str(folder)}), Path("r.yaml"))


def test_every_combination_of_first_targets_is_sorted_into_groups() -> None:
    for pair in itertools.combinations(("ort-int8", "coreml-fp16", "tensorrt-int8"), 2):
        text = recipe_text(Answers(targets=pair), Path("r.yaml"))
        assert (
            "built:"
            in text.split("targets:")[1].split("bench:")[0].replace("# required: must come out and pass.  built:", "")
        ) == ("coreml-fp16" in pair)
