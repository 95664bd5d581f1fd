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
        ("quantize.keep_float=[fc]", BEHIND_TRAINING),
        ("quantize.max_drop=0.5", BEHIND_TRAINING),
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


SEARCHED = """
name: searched
data: {use: digits, holdout: 0.3}
search:
  space:
    use: chain
    classes: 10
    frame: {size: 8, stem: 8, stem_stride: 1, stages: [[8, 2, 1]], last: 8, embedding: 8}
    operations: [conv-k3-relu, identity]
  fit: {epochs: 2}
  latency: {target: ort-int8, budget_ms: 1.5}
model: {use: chain_net, genotype: search, classes: 10}
train:
  - {name: first, model: {use: chain_net, genotype: search, classes: 10, seed: 1}, method: {use: plain}}
  - {name: teacher, model: {use: resnet, size: 8, width: 8, classes: 10}, method: {use: plain}}
  - {name: student, method: {use: th_kd, teacher: teacher}}
targets: {required: [ort-int8]}
limits: {accuracy_drop: 0.5}
"""


@pytest.fixture
def searched(tmp_path: Path) -> Callable[..., Run]:
    (tmp_path / "searched.yaml").write_text(SEARCHED)

    def of(*overrides: str) -> Run:
        recipe = read_recipe(tmp_path / "searched.yaml", overrides)
        return Run(recipe, tmp_path / "out", Trust(), lambda text: None)

    return of


BEHIND_SEARCH = ["train-first", "train-student", *BEHIND_TRAINING]


@pytest.mark.parametrize(
    ("override", "redone"),
    [
        ("limits.accuracy_drop=0.4", []),
        ("search.fit.threads=2", []),
        ("train.1.fit.epochs=3", ["train-teacher", "train-student", *BEHIND_TRAINING]),
        ("search.fit.epochs=3", ["search", *BEHIND_SEARCH]),
        ("search.latency.budget_ms=1.2", ["search", *BEHIND_SEARCH]),
        ("search.latency.blocks=5", ["latency-table", "search", *BEHIND_SEARCH]),
        ("bench.threads=2", ["latency-table", "search", *BEHIND_SEARCH]),
        ("search.space.operations=[conv-k3-relu]", ["latency-table", "search", *BEHIND_SEARCH]),
    ],
)
def test_a_change_of_a_search_redoes_what_depends_on_it(
    searched: Callable[..., Run], override: str, redone: list[str]
) -> None:
    assert changed(searched().keys, searched(override).keys) == redone


def test_a_given_table_is_not_measured_and_its_content_counts(searched: Callable[..., Run], tmp_path: Path) -> None:
    table = tmp_path / "table.json"
    table.write_text("{}")
    named = f"search.latency.table={table}"
    before = searched(named).keys
    assert "latency-table" not in before
    table.write_text("{ }")
    assert changed(before, searched(named).keys) == ["search", *BEHIND_SEARCH]


def test_models_take_the_genotype_that_was_found(searched: Callable[..., Run]) -> None:
    run = searched()
    file = str(run.folder("search") / "genotype.json")
    assert run.found.model["genotype"] == run.found.train[0].model["genotype"] == file  # type: ignore[index]
    assert run.found.train[2].model is None and run.source.inputs[0].shape == (1, 3, 8, 8)
