"""A recipe of stages that take a head, or a teacher, from one another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from edgesmith import records
from edgesmith.compress import METHODS
from edgesmith.compress.task import Parts, Plain
from edgesmith.errors import RecipeError, UsageError
from edgesmith.models.resnet import build
from edgesmith.pipeline.recipe import read_recipe
from edgesmith.pipeline.sources import Trust
from edgesmith.pipeline.steps import Run, train_recipe

RECIPES = Path(__file__).parents[2] / "recipes"
NET = "{use: resnet, size: 16, width: 4, blocks: [1], embedding: 8, classes: 10"
THREE = f"""
name: three
data: {{use: digits, holdout: 0.9}}
model: {NET}, seed: 1}}
train:
  - name: first
    method: {{use: plain}}
    fit: {{epochs: 1, lr: 0.1}}
  - name: teacher
    model: {NET.replace("embedding: 8", "embedding: 12")}}}
    method: {{use: plain, head_from: first}}
    fit: {{epochs: 1}}
  - name: student
    method: {{use: distil, teacher: teacher, head_from: first, kd: 1.0, cosine: 1.0, cache: true}}
    fit: {{epochs: 1}}
targets: {{required: [torch-fp32]}}
bench: null
"""


def recipe(folder: Path, text: str = THREE):
    path = folder / "recipe.yaml"
    path.write_text(text)
    return read_recipe(path)


def train(folder: Path, text: str = THREE) -> tuple[Run, list[str]]:
    said: list[str] = []
    made = recipe(folder, text)
    train_recipe(made, folder / "out", Trust(), said.append)
    return Run(made, folder / "out", Trust(), said.append), said


def weights(run: Run, stage: str) -> dict[str, torch.Tensor]:
    return load_file(run.folders()(stage) / "weights.safetensors")


def test_three_stages_share_one_frozen_head(tmp_path: Path) -> None:
    run, _ = train(tmp_path)
    first = weights(run, "first")
    for stage in ("teacher", "student"):
        for name in ("head.weight", "head.bias"):
            assert torch.equal(weights(run, stage)[name], first[name])
    folded = weights(run, "teacher")["folded.weight"]
    projector = weights(run, "teacher")["projector.weight"]
    assert projector.shape == (8, 12) and torch.allclose(folded, first["head.weight"] @ projector, atol=1e-6)
    assert run.deployed.module(torch.zeros(1, 3, 16, 16)).shape == (1, 10)
    _, said = train(tmp_path)
    assert all("already done" in line for line in said if line.startswith("train-"))


def test_the_key_follows_the_stage_the_head_is_taken_from(tmp_path: Path) -> None:
    before = Run(recipe(tmp_path), tmp_path, Trust(), print).keys
    changed = Run(recipe(tmp_path, THREE.replace("lr: 0.1", "lr: 0.2")), tmp_path, Trust(), print)
    assert all(before[f"train-{name}"] != changed.keys[f"train-{name}"] for name in ("first", "teacher", "student"))
    needs = {step.name: step.needs for step in changed.steps}
    assert needs["train-teacher"] == ("train-first",)
    assert needs["train-student"] == ("train-teacher", "train-first")


def test_a_pretrained_teacher_by_its_spec_with_a_head_of_class_centres(tmp_path: Path) -> None:
    net, _ = build(size=16, width=4, blocks=[1], embedding=12)
    save_file(net.state_dict(), tmp_path / "teacher.safetensors")
    spec = NET.replace("embedding: 8, classes: 10", f"embedding: 12, weights: {tmp_path}/teacher.safetensors") + "}"
    text = THREE.split("  - name: teacher")[0].replace(
        "{use: plain}", f"{{use: th_kd, teacher: {spec}, head: centres}}"
    )
    text += "targets: {required: [torch-fp32]}\nbench: null\n"
    run, _ = train(tmp_path, text)
    meta = records.read(run.folders()("first") / "artifact.json")["meta"]
    assert "mean normalised embedding of each training class" in meta["notes"][0]
    key = run.keys["train-first"]
    net.body.stem.conv.weight.data.mul_(2)
    save_file(net.state_dict(), tmp_path / "teacher.safetensors")
    assert Run(recipe(tmp_path, text), tmp_path, Trust(), print).keys["train-first"] != key


def test_a_stage_without_a_linear_head_has_none_to_give(tmp_path: Path) -> None:
    headless = NET.replace(", classes: 10", "}")
    text = THREE.replace("{use: plain}", f"{{use: distil, teacher: {headless}, ce: 0, l2: 1}}\n    model: {headless}")
    with pytest.raises(UsageError, match="the head of stage 'first': its net has no linear head"):
        train(tmp_path, text)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("head_from: first}", "head_from: nobody}", "train.1.method.head_from: no earlier stage is called 'nobody'"),
        ("head_from: first}", "head_mode: loose}", "train.1.method.head_mode"),
        ("teacher: teacher", "teacher: {use: resnett}", "train.2.method.teacher.use"),
        ("teacher: teacher", "teacher: {use: resnet, widht: 1}", "train.2.method.teacher.widht"),
        ("head_from: first,", "head_from: {use: resnet},", "train.2.method.head_from: no earlier stage"),
        ("kd: 1.0", "kd: much", "train.2.method.kd"),
    ],
)
def test_mistakes_are_named_by_their_path(tmp_path: Path, old: str, new: str, problem: str) -> None:
    with pytest.raises(RecipeError) as caught:
        recipe(tmp_path, THREE.replace(old, new))
    assert [line for line in caught.value.problems if line.startswith(problem)]


def test_the_shipped_recipe_is_three_stages() -> None:
    shipped = read_recipe(RECIPES / "sh-kd-digits.yaml")
    assert [stage.name for stage in shipped.train] == ["first-student", "teacher", "student"]
    assert all(stage.method["head_from"] == "first-student" for stage in shipped.train[1:])


def without_head(parts: Parts) -> Plain:
    """A method that knows nothing of other stages' heads."""
    return Plain(parts.student)


def test_a_method_that_shares_no_head_takes_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS.table, "bare", f"{__name__}:without_head")  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match="head_from: method 'bare' shares no head"):
        recipe(tmp_path, THREE.replace("{use: plain, head_from", "{use: bare, head_from"))


SELECTIVE = f"""
name: two
data: {{use: scenes, samples: 40, calibration: 8, evaluation: 20, partial: "rps:0.5"}}
model: {NET.replace("10", "16")}, seed: 1}}
train:
  - name: ignore
    method: {{use: csl, mode: ignore}}
    fit: {{epochs: 1, batch: 16, lr: 0.01, ema: 0.9}}
  - name: selective
    method: {{use: csl, prior_from: ignore, top_k: 1}}
    fit: {{epochs: 1, batch: 16, lr: 0.01}}
targets: {{required: [torch-fp32]}}
bench: null
"""


def test_a_class_prior_is_taken_from_an_earlier_stage_and_estimated_once(tmp_path: Path) -> None:
    run, _ = train(tmp_path, SELECTIVE)
    (kept,) = (tmp_path / "out" / "class-prior").iterdir()
    before = (kept / "prior.npy").stat().st_mtime_ns
    assert run.deployed.module(torch.zeros(1, 3, 16, 16)).shape == (1, 16)
    assert next(step for step in run.steps if step.name == "train-selective").needs == ("train-ignore",)
    changed, _ = train(tmp_path, SELECTIVE.replace("top_k: 1", "top_k: 2"))
    assert (kept / "prior.npy").stat().st_mtime_ns == before  # the stage is trained anew, the prior is read back
    assert changed.keys["train-selective"] != run.keys["train-selective"]
    assert changed.keys["train-ignore"] == run.keys["train-ignore"]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("prior_from: ignore", "prior_from: nobody", "train.1.method.prior_from: no earlier stage is called 'nobody'"),
        ("use: csl, prior_from", "use: asl, prior_from", "prior_from: method 'asl' has no class prior"),
    ],
)
def test_a_wrong_source_of_a_prior_is_named(tmp_path: Path, old: str, new: str, problem: str) -> None:
    with pytest.raises(RecipeError, match=problem):
        recipe(tmp_path, SELECTIVE.replace(old, new).replace(", top_k: 1", ""))


def test_a_semantic_net_and_a_student_under_its_head(tmp_path: Path) -> None:
    words = tmp_path / "words.npz"
    rng = np.random.default_rng(0)
    np.savez(words, names=np.array([f"label {i}" for i in range(16)]), vectors=rng.normal(size=(16, 5)))
    small = "{size: 16, width: 4, blocks: [1], embedding: %d}"
    net = f"{{use: semantic, words: {words}, rows: 2, backbone: resnet, options: {small}"
    text = f"""
name: words
data: {{use: scenes, samples: 40, calibration: 8, evaluation: 20}}
model: {net % 6}}}
train:
  - name: teacher
    model: {net % 8}, seed: 3}}
    method: {{use: sdl}}
    fit: {{epochs: 1, batch: 16, lr: 0.001}}
  - name: student
    method: {{use: sdl, teacher: teacher, alpha: 0.5}}
    fit: {{epochs: 1, batch: 16, lr: 0.001}}
targets: {{required: [torch-fp32]}}
bench: null
"""
    run, _ = train(tmp_path, text)
    deployed, teacher = run.deployed.module, weights(run, "teacher")
    assert deployed(torch.zeros(1, 3, 16, 16)).shape == (1, 16) and deployed.head.in_features == 6
    assert torch.equal(deployed.head.bank, teacher["head.bank"])
    before = run.keys["train-teacher"]
    np.savez(words, names=np.array([f"label {i}" for i in range(16)]), vectors=rng.normal(size=(16, 5)))
    assert Run(run.recipe, run.out, Trust(), str).keys["train-teacher"] != before  # the key covers the words


def test_one_class_an_image_by_the_asymmetric_loss(tmp_path: Path) -> None:
    one = THREE.split("  - name: teacher")[0].replace("use: plain", "use: asl_single, gamma_neg: 2.0")
    run, _ = train(tmp_path, one + "targets: {required: [torch-fp32]}\nbench: null\n")
    assert "asl" in records.read(run.folders()("first") / "history.json")["epochs"][0]["terms"]


def test_several_labels_an_image_share_a_head_over_three_stages(tmp_path: Path) -> None:
    text = THREE.replace("{use: digits, holdout: 0.9}", "{use: scenes, samples: 40, calibration: 8, evaluation: 16}")
    text = text.replace("size: 16", "size: 32").replace("classes: 10", "classes: 16").replace("use: plain", "use: asl")
    own = "use: distil, teacher: teacher, head_from: first, kd: 1.0, cosine: 1.0, cache: true"
    given = "use: kd_multilabel, teacher: teacher, head_from: first, beta: 1.0, distance: cosine, cache: true"
    run, _ = train(tmp_path, text.replace(own, given))
    first = weights(run, "first")["head.weight"]
    assert torch.equal(weights(run, "teacher")["head.weight"], first)
    assert torch.equal(weights(run, "student")["head.weight"], first)
    assert weights(run, "teacher")["projector.weight"].shape == (8, 12)
