"""What redoes which step: keys of a whole recipe under one change at a time."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from PIL import Image

import edgesmith
from edgesmith.errors import UsageError
from edgesmith.models.resnet import build
from edgesmith.models.weights import save_weights
from edgesmith.pipeline.recipe import read_recipe
from edgesmith.pipeline.sources import Trust
from edgesmith.pipeline.steps import Run
from tests.recipes.tiny import RECIPE

Keys = Callable[..., dict[str, str]]


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Keys:
    """Step keys of the tiny recipe on a folder of pictures, with overrides; the current folder is `tmp_path`."""
    monkeypatch.chdir(tmp_path)
    for name in ("cat", "dog"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for grey in range(6):
            Image.new("RGB", (8, 8), (grey * 20, len(name), 0)).save(tmp_path / "pictures" / name / f"{grey}.png")
    raw = yaml.safe_load(RECIPE)
    raw["data"] = {"use": "folder", "root": "pictures", "holdout": 0.5, "calibration": 4}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(raw))

    def of(*overrides: str) -> dict[str, str]:
        run = Run(read_recipe(tmp_path / "recipe.yaml", overrides), tmp_path / "out", Trust(), lambda text: None)
        return run.keys

    return of


def changed(before: dict[str, str], after: dict[str, str]) -> list[str]:
    return [name for name in before if before[name] != after[name]]


BEHIND_TRAINING = ["quantize", "export", "outputs", "bench"]


@pytest.mark.parametrize(
    ("override", "redone"),
    [
        ("limits.accuracy_drop=0.5", []),
        ("train.1.fit.threads=2", []),
        ("bench.blocks=9", ["bench"]),
        ("quantize.samples=3", BEHIND_TRAINING),
        ("data.calibration=3", BEHIND_TRAINING),
        ("train.1.fit.epochs=3", ["train-student", *BEHIND_TRAINING]),
        ("model.width=16", ["train-student", *BEHIND_TRAINING]),
        ("train.0.model.width=24", ["train-teacher", "train-student", *BEHIND_TRAINING]),
        ("targets.optional=[ort-fp32]", ["export", "outputs", "bench"]),
    ],
)
def test_a_change_redoes_what_depends_on_it_and_nothing_else(keys: Keys, override: str, redone: list[str]) -> None:
    assert changed(keys(), keys(override)) == redone


def test_the_content_of_a_weights_file_counts_and_its_place_does_not(keys: Keys, tmp_path: Path) -> None:
    def weights(seed: int) -> dict[str, str]:
        net, _ = build(width=8, embedding=16, classes=10, seed=seed)
        save_weights(tmp_path / "start.safetensors", net)
        return keys("model.weights=start.safetensors")

    first, second = weights(0), weights(1)
    assert changed(first, second) == ["train-student", *BEHIND_TRAINING]
    shutil.copy("start.safetensors", "copy.safetensors")
    assert keys("model.weights=copy.safetensors") == second


def test_a_class_with_another_name_is_exported_anew_but_not_trained(keys: Keys, tmp_path: Path) -> None:
    before = keys()
    (tmp_path / "pictures" / "dog").rename(tmp_path / "pictures" / "dogs")
    assert changed(before, keys()) == ["export", "outputs", "bench"]


def test_another_evaluation_picture_is_measured_anew_but_not_trained(keys: Keys, tmp_path: Path) -> None:
    before = keys("data.seed=3")
    run = Run(read_recipe(tmp_path / "recipe.yaml", ["data.seed=3"]), tmp_path, Trust(), lambda text: None)
    held_out = run.data.evaluation.split.names[0]  # type: ignore[union-attr]
    Image.new("RGB", (8, 8), (255, 255, 255)).save(tmp_path / "pictures" / held_out)
    assert changed(before, keys("data.seed=3")) == ["outputs", "bench"]


def test_every_pattern_of_sources_finds_files(keys: Keys, tmp_path: Path) -> None:
    run = Run(read_recipe(tmp_path / "recipe.yaml"), tmp_path, Trust(), lambda text: None)
    package = Path(edgesmith.__file__).parent
    assert all(list(package.glob(pattern)) for step in run.steps for pattern in step.sources)
    assert all(step.sources and step.packages for step in run.steps)


def test_a_recipe_may_not_name_a_program_unless_allowed(keys: Keys) -> None:
    with pytest.raises(UsageError, match="allow-import"):
        keys("bench.device={use: local, python: ./program}")
