"""A recipe with quantization-aware training, learned rounding and batch norms measured anew, end to end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from edgesmith import records
from edgesmith.errors import RecipeError
from edgesmith.pipeline import refining
from edgesmith.pipeline.effects import load_effects
from edgesmith.pipeline.plans import load_plans
from edgesmith.pipeline.quantize_section import Quantize
from edgesmith.pipeline.recipe import read_recipe
from edgesmith.pipeline.run import execute
from edgesmith.pipeline.sources import Trust
from edgesmith.pipeline.steps import Run
from edgesmith.pipeline.training import TRAINED_PLAN
from edgesmith.quant import QuantPlan
from edgesmith.runtimes import RUNTIMES
from edgesmith.runtimes.session import RunOptions

RECIPE = """
name: aware
data: {use: digits, holdout: 0.8}
model: {use: resnet, size: 16, width: 4, embedding: 8, classes: 10}
train:
  - name: student
    method: {use: plain}
    fit: {epochs: 2, batch: 128, lr: 0.1, threads: 1}
  - name: aware
    after: student
    method: {use: plain}
    qat: {family: ort, freeze_ranges: 1, calibration: 64}
    fit: {epochs: 2, batch: 128, lr: 0.02, threads: 1}
quantize: {samples: 64, adaround: true}
targets: {required: [ort-int8, openvino-int8]}
bench: null
"""


def recipe(folder: Path, *changes: tuple[str, str]):
    text = RECIPE
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    file = folder / "recipe.yaml"
    file.write_text(text)
    return read_recipe(file)


def test_train_then_aware_then_plans_then_artefacts(tmp_path: Path) -> None:
    run = Run(recipe(tmp_path), tmp_path / "out", Trust(), lambda text: None)
    execute([step for step in run.steps if step.name != "outputs"], tmp_path / "out", lambda text: None)
    trained = records.load(QuantPlan, run.folder("train-aware") / TRAINED_PLAN)
    plans = load_plans(run.folder("quantize"))
    assert plans["ort"].digest() == trained.digest() and not plans["ort"].rounded_up
    assert plans["openvino"].rounded_up  # calibrated anew, rounding learned
    (effects,) = load_effects(run.folder("quantize"))  # a trained plan's numbers are no correction's
    assert effects.target == "openvino-int8" and effects.rows[-1].correction == "adaround"
    exported = run.bundle.exported["ort-int8"]
    assert exported.plan_digest == trained.digest()
    picture = run.bundle.exported["torch-fp32"].golden()
    assert picture is not None
    with torch.no_grad():
        wanted = run.deployed.module(torch.from_numpy(picture[0]["image"])).numpy()
    with RUNTIMES.get("ort").open(exported, RunOptions(threads=1)) as session:
        found = session.run({"image": picture[0]["image"]})["logits"]
    assert np.corrcoef(found.ravel(), wanted.ravel())[0, 1] > 0.9


def test_a_changed_setting_repeats_the_stage_and_what_stands_on_it(tmp_path: Path) -> None:
    before = Run(recipe(tmp_path), tmp_path / "out", Trust(), lambda text: None).keys
    after = Run(recipe(tmp_path, ("freeze_ranges: 1", "freeze_ranges: 2")), tmp_path, Trust(), lambda text: None).keys
    changed = [name for name in before if before[name] != after[name]]
    assert changed == ["train-aware", "quantize", "export", "outputs"]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (("after: student", "after: nobody"), "train.1.after: no earlier stage is called 'nobody'"),
        (("family: ort", "family: tensorrt"), "train.1.qat.family: no target is of the family 'tensorrt'"),
        (("family: ort", "family: dsp"), "train.1.qat: no such family"),
        (("freeze_ranges", "freeze"), "train.1.qat.freeze: no such option"),
        (("adaround: true", "reestimate_batchnorm: true"), "train.1.qat: it folds batch norms"),
        (("adaround: true", "corrections: {reestimate_batchnorm: true}"), "train.1.qat: it folds batch norms"),
        (("adaround: true", "corrections: {equalize: false}"), "quantize.corrections.equalize: "),
        (("method: {use: plain}\n    fit", "method: {use: plain}\n    qat: {}\n    fit"), "train.0.qat: only the last"),
    ],
)
def test_mistakes_are_told_with_their_path(change: tuple[str, str], problem: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        recipe(tmp_path, change)
    assert any(line.startswith(problem) for line in caught.value.problems)


def test_a_stage_that_deploys_another_net_is_no_start(tmp_path: Path) -> None:
    other = "  - name: student\n    model: {use: resnet, size: 16, width: 8, embedding: 8, classes: 10}\n"
    run = Run(recipe(tmp_path, ("  - name: student\n", other)), tmp_path / "out", Trust(), lambda text: None)
    with pytest.raises(Exception, match="start from stage 'student'"):
        execute([step for step in run.steps if step.together], tmp_path / "out", lambda text: None)


def test_batch_norms_are_measured_anew_only_where_the_recipe_asks(tmp_path: Path) -> None:
    text = (("    qat: {family: ort, freeze_ranges: 1, calibration: 64}\n", ""),)
    run = Run(recipe(tmp_path, *text), tmp_path, Trust(), lambda text: None)
    assert refining.reestimated(run.source, run.data, Quantize()) is run.source
    made = refining.reestimated(run.source, run.data, Quantize(samples=20, batch=10, reestimate_batchnorm=True))
    assert "batch norms measured anew" in made.notes[-1] and "16 samples" in made.notes[-1]
    stem = "body.stem.bn.running_var"
    assert not torch.allclose(made.module.state_dict()[stem], run.source.module.state_dict()[stem])
