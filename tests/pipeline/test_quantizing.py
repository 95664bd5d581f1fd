"""From wishes to plans: what is kept in float and why, drops judged on runtimes, budgets of time, bad wishes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgesmith.compress.quantize.mixed import Option
from edgesmith.data.split import Evaluation, Split
from edgesmith.devices.local import LocalDevice
from edgesmith.errors import UsageError
from edgesmith.pipeline.produce import capture_source
from edgesmith.pipeline.quantizing import (
    Quantized,
    Setting,
    load_controls,
    load_verdicts,
    quantized,
    save_quantized,
    within_ms,
)
from edgesmith.pipeline.sources import Inputs, Source
from edgesmith.pipeline.wishes import Wishes
from edgesmith.quant import EdgeQuant
from edgesmith.tensors import TensorSpec

pytestmark = pytest.mark.needs("onnxruntime")


class Net(nn.Module):
    """A classifier with an operator that no family quantizes, a conv called twice and a layer that never runs."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.twice = nn.Conv2d(8, 8, 3, padding=1)
        self.act = nn.Softplus()
        self.fc = nn.Linear(8, 5)
        self.unused = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.first(x))
        return self.fc(self.act(self.twice(torch.relu(self.twice(y)))).mean((2, 3)))


def samples(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 3, 8, 8)).astype(np.float32)


def setting(held_out: int = 400, labelled: bool = True, outlier: float = 0.0) -> Setting:
    """A net whose answers are the labels; with an outlier in the calibration data its input has hardly a step left."""
    torch.manual_seed(0)
    source = Source("net", Net().eval(), (TensorSpec("x", (1, 3, 8, 8)),), labels=tuple("abcde") if labelled else ())
    calibration, evaluated = samples(32), samples(held_out, 1)
    calibration[0, 0, 0, 0] += outlier
    with torch.no_grad():
        source.module.fc.bias -= source.module(torch.from_numpy(samples(64, 2))).mean(0)  # every class now and then
        labels = source.module(torch.from_numpy(evaluated)).argmax(1).numpy()
    arrays = {"x": evaluated}
    asked = Evaluation(Split(arrays, labels), "top1", {"labels": labels})
    asked = asked if labelled else Evaluation(Split(arrays), "agreement")
    calibrated, judged = Inputs({"x": calibration}, False, "c"), Inputs(arrays, False, "e", labels)
    return Setting(capture_source(source), source, calibrated, judged, asked, LocalDevice(), lambda text: None)


def found(where: Setting, *names: str, **wishes: object) -> tuple[Quantized, ...]:
    return quantized(where, names or ("ort-int8",), Wishes(**wishes))[1]  # type: ignore[arg-type]


def test_what_stays_in_float_is_listed_with_its_share_and_reason() -> None:
    (made,) = found(setting(), keep_float=("twice",))
    rows = {row.layer: row for row in made.floats}
    assert {"twice", "act.softplus", "mean"} <= set(rows) or {"twice", "act", "mean"} <= set(rows)
    assert rows["twice"].reason == "asked" and rows["twice"].operator == "conv2d"
    total = 64 * 8 * 27 + 2 * 64 * 8 * 72 + 40
    assert rows["twice"].macs_share == pytest.approx(64 * 8 * 72 / total)
    assert "no integer rule for mean" in rows["mean"].reason
    assert "twice_1" not in rows  # the other call of the shared convolution is a layer of its own


def test_a_drop_that_holds_leaves_everything_in_int8(tmp_path: Path) -> None:
    where = setting()
    ranges, made = quantized(where, ("ort-int8",), Wishes(max_drop=0.4))
    (one,) = made
    assert one.control is not None and one.control.verdict.state == "pass" and one.kept == ()
    assert one.control.n == 400 and one.control.metric == "top1"
    save_quantized(tmp_path, ranges, made)
    assert load_verdicts(tmp_path) == one.verdicts == (one.control.verdict,)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["control-ort.json", "plan-ort.json", "ranges.json"]


def test_a_drop_that_does_not_hold_sends_the_sensitive_layer_to_float(tmp_path: Path) -> None:
    ranges, (made,) = quantized(setting(outlier=3000.0), ("ort-int8",), Wishes(max_drop=0.1))
    assert made.control is not None and made.control.verdict.state == "pass" and made.sensitivities is not None
    assert len(made.control.looks) > 1 and made.control.looks[0].state == "fail"
    worst = max(made.sensitivities.layers, key=lambda row: row.noise)
    assert worst.layer in made.kept and made.plan.precision[worst.layer] == "fp32" and worst.loss is not None
    assert {row.layer: row.reason for row in made.floats}[worst.layer] == "needed for the accuracy"
    fates = {row.layer: row.fate for row in made.control.raised}
    assert fates[worst.layer] == "needed" and set(made.kept) == {n for n, fate in fates.items() if fate != "given back"}
    save_quantized(tmp_path, ranges, (made,))
    assert load_controls(tmp_path) == (made.control,)


def test_without_labels_the_agreement_with_the_original_is_kept() -> None:
    where = setting(held_out=64, labelled=False)
    (cosine,) = found(where, max_drop=0.01)
    assert cosine.control is not None and cosine.control.metric == "cosine"
    assert cosine.control.verdict.state == "pass"


def test_a_target_that_cannot_run_here_is_not_measured() -> None:
    (made,) = found(setting(), "tensorrt-int8", max_drop=0.1)
    assert made.control is not None and made.control.verdict.state == "not_measured" and made.plan.family == "tensorrt"


def test_a_budget_of_time_is_spent_on_the_most_sensitive_layers() -> None:
    (made,) = found(setting(held_out=16), max_ms=1e6)  # room for everything
    assert set(made.kept) == {row.layer for row in made.sensitivities.layers}  # type: ignore[union-attr]
    assert made.latency is not None and made.predicted_ms is not None and made.control is None
    saved = sum(row.saved_ms.value for row in made.latency.groups)
    assert made.predicted_ms == pytest.approx(made.latency.all_int8_ms + saved)
    assert made.timed is not None and made.timed.state in ("pass", "inconclusive")  # the latter on a machine in trouble
    assert {row.reason for row in made.floats} >= {"the time allows it"}


def test_a_time_that_no_plan_takes_names_the_fastest() -> None:
    options = [Option("a", "int8", 0.5, 0.0), Option("a", "fp32", 0.0, 2.0), Option("b", "int8", 0.5, 0.0)]
    options.append(Option("b", "fp32", 0.0, -0.25))  # int8 is slower here
    assert within_ms("ort-int8", options, 1.0, 3.0) == (("a", "b"), 2.75)
    assert within_ms("ort-int8", options, 1.0, 1.5) == (("b",), 0.75)
    with pytest.raises(UsageError, match=r"fastest plan takes 0\.75 ms"):
        within_ms("ort-int8", options, 1.0, 0.5)


@pytest.mark.parametrize(
    ("wishes", "words"),
    [
        ({"max_drop": 0.1, "max_ms": 1.0}, "two budgets"),
        ({"max_drop": -0.1}, "0 or more"),
        ({"max_drop": float("nan")}, "0 or more"),
        ({"keep_float": ("unused",)}, "never ran"),
        ({"keep_float": ("no.such",)}, "no such layer"),
    ],
)
def test_wishes_that_make_no_sense_are_refused(wishes: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        found(setting(held_out=16), **wishes)


def test_a_drop_needs_samples_to_be_judged_on() -> None:
    with pytest.raises(UsageError, match="no held-out samples"):
        found(replace(setting(), held_out=None, evaluation=None), max_drop=0.1)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda x: x[:0], "no samples"),
        (lambda x: np.where(np.arange(32)[:, None, None, None] == 5, np.nan, x), "first in sample 5"),
        (lambda x: np.full_like(x, 0.5), "every value"),
        (lambda x: np.repeat(x[:1], 32, 0), "all 32 samples are the same"),
    ],
)
def test_calibration_samples_that_say_nothing_are_refused(spoil, words: str) -> None:
    where = setting(held_out=16)
    bad = {"x": spoil(where.calibration.arrays["x"]).astype(np.float32)}
    with pytest.raises(UsageError, match=words):
        found(replace(where, calibration=replace(where.calibration, arrays=bad)))


def test_one_sample_and_one_constant_input_are_fine() -> None:
    where = setting(held_out=16)
    one = {"x": where.calibration.arrays["x"][:1]}
    assert found(replace(where, calibration=replace(where.calibration, arrays=one)))[0].plan.edges


def test_layers_leave_a_learned_plan_and_the_others_keep_what_they_learned() -> None:
    where = setting(held_out=64)
    (whole,) = found(where)
    first = whole.plan.edges["first:weight"]
    assert isinstance(first, EdgeQuant)
    learned = replace(whole.plan, edges={**whole.plan.edges, "first:weight": replace(first, scale=1.1 * first.scale)})
    wishes = Wishes(keep_float=("fc",), effects=True)
    _, (one, other) = quantized(where, ("ort-int8", "openvino-int8"), wishes, learned=learned)
    assert one.plan.precision["fc"] == "fp32" and "fc:weight" not in one.plan.edges and one.effects is None
    kept = one.plan.edges["first:weight"]
    assert isinstance(kept, EdgeQuant) and np.array_equal(kept.scale, 1.1 * first.scale)
    assert other.plan.family == "openvino" and other.effects is not None
