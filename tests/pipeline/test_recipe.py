from __future__ import annotations

from pathlib import Path

import pytest

from edgesmith.errors import MissingResource, RecipeError
from edgesmith.pipeline.recipe import read_recipe

GOOD = """
name: small
data: {use: digits}
model: {use: mobilefacenet, size: 32, classes: 10}
train:
  - name: teacher
    model: {use: resnet, size: 32, classes: 10}
    method: {use: plain}
    fit: {epochs: 1}
  - name: student
    method: {use: th_kd, teacher: teacher, a_th: 0.5}
targets: {required: [ort-int8], optional: [tensorrt-int8]}
limits: {accuracy_drop: 0.1}
"""


def write(folder: Path, text: str, name: str = "recipe.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_reads_a_good_recipe(tmp_path: Path) -> None:
    recipe = read_recipe(write(tmp_path, GOOD))
    assert [stage.name for stage in recipe.train] == ["teacher", "student"]
    assert recipe.targets.all == ("torch-fp32", "ort-int8", "tensorrt-int8")
    assert recipe.limits == {"accuracy_drop": 0.1}


def test_five_mistakes_are_five_lines_each_with_its_path(tmp_path: Path) -> None:
    text = (
        GOOD.replace("use: digits", "use: digitz")
        .replace("{use: mobilefacenet, size: 32, classes: 10}", "{use: mobilefacenet, widht: 2, classes: 10}")
        .replace("epochs: 1", "epochs: many")
        .replace("teacher: teacher", "teacher: nobody")
        .replace("ort-int8", "ort-int9")
    )
    with pytest.raises(RecipeError) as caught:
        read_recipe(write(tmp_path, text))
    paths = [problem.split(":")[0] for problem in caught.value.problems]
    assert paths == ["data.use", "model.widht", "targets.required.0", "train.0.fit.epochs", "train.1.method.teacher"]
    assert caught.value.exit_code == 2


def test_mistakes_of_types_and_of_plugins_come_together(tmp_path: Path) -> None:
    text = GOOD.replace("name: small", "nmae: small").replace("a_th: 0.5", "a_th: half")
    with pytest.raises(RecipeError) as caught:
        read_recipe(write(tmp_path, text))
    assert [p.split(":")[0] for p in caught.value.problems] == ["name", "nmae", "train.1.method.a_th"]


def test_set_changes_values_and_refuses_what_leads_nowhere(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    recipe = read_recipe(path, ["train.0.fit.epochs=3", "data.holdout=0.3", "bench.blocks=4"])
    assert recipe.train[0].fit["epochs"] == 3
    assert recipe.data["holdout"] == 0.3
    assert recipe.bench is not None and recipe.bench.blocks == 4
    for wrong in ("train.7.name=x", "nonsense", "name.x.y=1"):
        with pytest.raises(RecipeError):
            read_recipe(path, [wrong])


def test_extends_merges_and_a_circle_is_named(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    child = write(tmp_path, "extends: recipe.yaml\nname: child\nmodel: {width: 0.5}\n", "child.yaml")
    recipe = read_recipe(child)
    assert recipe.name == "child"
    assert recipe.model == {"use": "mobilefacenet", "size": 32, "classes": 10, "width": 0.5}
    a = write(tmp_path, "extends: b.yaml\n", "a.yaml")
    write(tmp_path, "extends: a.yaml\n", "b.yaml")
    with pytest.raises(RecipeError, match="extends"):
        read_recipe(a)


@pytest.mark.parametrize("text", ["- a list", "a: [1,", "just words"])
def test_what_is_no_recipe_is_said(tmp_path: Path, text: str) -> None:
    with pytest.raises(RecipeError):
        read_recipe(write(tmp_path, text))


def test_yaml_cannot_make_objects(tmp_path: Path) -> None:
    with pytest.raises(RecipeError):
        read_recipe(write(tmp_path, "name: !!python/object/apply:os.system ['echo hacked']"))


def test_absent_file(tmp_path: Path) -> None:
    with pytest.raises(MissingResource):
        read_recipe(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        ("epochs: 1", "epochs: -1", "train.0.fit"),
        ("limits:", "bench: {blocks: 1}\nlimits:", "bench.blocks"),
        ("limits:", "quantize: {samples: 0}\nlimits:", "quantize.samples"),
        ("{required: [ort-int8], optional: [tensorrt-int8]}", "{required: []}", "targets"),
        ("name: student", "name: ../student", "train.1.name"),
        ("name: student", "name: student\n    model: {use: resnet}", "train.1.model"),
        ("{use: digits}", "digits", "data"),
        ("name: small", "extends: [a, b]", "extends"),
    ],
)
def test_a_mistake_is_one_line_with_its_path(tmp_path: Path, old: str, new: str, path: str) -> None:
    with pytest.raises(RecipeError) as caught:
        read_recipe(write(tmp_path, GOOD.replace(old, new)))
    assert [problem.split(":")[0] for problem in caught.value.problems] == [path]
    assert caught.value.todo


def test_a_value_that_is_no_yaml(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="not a YAML value"):
        read_recipe(write(tmp_path, GOOD), ["name=[1"])


SEARCHED = """
name: searched
data: {use: digits}
search:
  space: {use: chain, classes: 10, frame: {size: 8}, operations: [conv-k3-relu]}
  method: {use: asap, cooling: 0.9}
  fit: {epochs: 2}
  latency: {target: ort-int8, budget_ms: 1.5}
model: {use: chain_net, genotype: search, classes: 10}
targets: {required: [ort-int8]}
"""


def test_reads_a_search(tmp_path: Path) -> None:
    search = read_recipe(write(tmp_path, SEARCHED)).search
    assert search is not None and search.latency is not None
    assert search.latency.budget_ms == 1.5 and search.method["cooling"] == 0.9


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        ("budget_ms: 1.5", "budget_ms: 0", "search.latency.budget_ms"),
        ("target: ort-int8, b", "target: ort-int4, b", "search.latency.target"),
        ("{size: 8}", "{sizes: 8}", "search.space.frame"),
        ("use: chain,", "use: chains,", "search.space.use"),
        ("cooling: 0.9", "coolness: 0.9", "search.method.coolness"),
        ("cooling: 0.9", "latency_weight: 2", "search.method.latency_weight"),
        ("{use: asap, cooling: 0.9}", "{use: darts}", "search.latency"),
        ("epochs: 2", "epochs: 0", "search.fit"),
        ("genotype: search", "seed: 1", "search"),
        ("search:\n  space", "limits: {}\nother:\n  space", "model.genotype"),
    ],
)
def test_a_mistake_in_a_search_is_told_with_its_path(tmp_path: Path, old: str, new: str, path: str) -> None:
    with pytest.raises(RecipeError) as caught:
        read_recipe(write(tmp_path, SEARCHED.replace(old, new)))
    assert path in [problem.split(":")[0] for problem in caught.value.problems]


def test_a_bench_has_a_scenario(tmp_path: Path) -> None:
    recipe = read_recipe(write(tmp_path, GOOD + "bench: {scenario: cold-start, block_size: 9}\n"))
    assert recipe.bench is not None and (recipe.bench.scenario, recipe.bench.calls) == ("cold-start", 1)
    with pytest.raises(RecipeError) as caught:
        read_recipe(write(tmp_path, GOOD + "bench: {scenario: cold-start, layers: true, streams: 1}\n"))
    assert "bench.layers: a cold start" in str(caught.value) and "bench.streams" in str(caught.value)
    with pytest.raises(RecipeError, match=r"bench\.scenario"):
        read_recipe(write(tmp_path, GOOD + "bench: {scenario: server}\n"))
