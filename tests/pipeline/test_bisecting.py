"""`quantize --bisect`: the planted layer is the one that stays in float, and what is not quantization is said."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edgesmith import records
from edgesmith.compress.quantize.mixed import Option
from edgesmith.data.split import Evaluation, Split
from edgesmith.devices.local import LocalDevice
from edgesmith.errors import UsageError
from edgesmith.pipeline.accuracy_control import Control, Found, Goal
from edgesmith.pipeline.bisecting import bisect_drop, integer_layers
from edgesmith.pipeline.produce import calibrate, capture_source, plan_targets
from edgesmith.pipeline.quantizing import Setting, quantize_all, quantized, save_quantized
from edgesmith.pipeline.sources import Inputs, Source
from edgesmith.pipeline.wishes import Wishes
from edgesmith.quant import EdgeQuant, QuantPlan
from edgesmith.results import Interval
from edgesmith.tensors import TensorSpec

LAYERS = ("a", "b", "c", "d", "e", "f")


def goal(needed: Collection[str], max_drop: float = 0.01, worse: float = 0.2, n: int = 5000) -> Goal:
    """A net whose drop is too large until all of `needed` are in float."""

    def planner(kept: Collection[str]) -> QuantPlan:
        return QuantPlan("ort", {}, {name: "fp32" if name in kept else "int8" for name in LAYERS}, "x86-vnni")

    def measure(plan: QuantPlan) -> Found:
        kept = {name for name, precision in plan.precision.items() if precision == "fp32"}
        drop = 0.0 if kept >= set(needed) else worse
        return Found("top1", Interval(drop, drop - 0.003, drop + 0.003), n)

    def options() -> list[Option]:
        raise AssertionError("bisecting asks the runtime, not the simulation")

    return Goal("ort-int8", max_drop, planner, measure, options, Found("top1", Interval(0.0, -0.003, 0.003), n))


def test_the_plan_keeps_just_the_layers_that_are_needed() -> None:
    told: list[str] = []
    plan, control = bisect_drop(goal(("b", "e")), told.append)
    assert control.verdict.state == "pass" and control.kept == ("b", "e") and "in float: b, e" in control.verdict.found
    assert {name for name, precision in plan.precision.items() if precision == "fp32"} == {"b", "e"}
    assert len(told) == len(control.looks) and control.looks[0].state == "fail"
    assert control.looks[0].drop.high is not None and control.looks[0].drop.high > 0.203  # wider than one look's


def test_what_float_does_not_heal_is_not_quantization() -> None:
    plan, control = bisect_drop(goal(("elsewhere",)), lambda text: None)
    assert control.verdict.state == "fail" and "not quantization" in control.verdict.found
    assert set(plan.precision.values()) == {"fp32"} and len(control.looks) == 2


def test_too_few_samples_are_said_before_anything_is_built() -> None:
    unsure = replace(goal(()), original=Found("top1", Interval(0.0, -0.02, 0.02), 40))
    _, control = bisect_drop(unsure, lambda text: None)
    assert (
        control.verdict.state == "inconclusive" and control.looks == () and "original itself" in control.verdict.found
    )


def ruined(plan: QuantPlan) -> QuantPlan:
    """The plan with steps of layer "2"'s weights 1000 times too wide, where it quantizes them."""
    edge = plan.edges.get("2:weight")
    if not isinstance(edge, EdgeQuant):
        return plan
    return replace(plan, edges={**plan.edges, "2:weight": replace(edge, scale=1000 * edge.scale)})


@pytest.mark.needs("onnxruntime")
def test_a_real_net_with_one_ruined_scale(tmp_path: Path) -> None:
    torch.manual_seed(0)
    body = [nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 1), nn.ReLU()]
    net = nn.Sequential(*body, nn.Flatten(), nn.Linear(8 * 16, 6)).eval()
    rng, told = np.random.default_rng(0), list[str]()
    calibration, held = (rng.normal(size=(n, 3, 8, 8)).astype(np.float32) for n in (32, 64))
    source = Source("net", net, (TensorSpec("x", (1, 3, 8, 8)),))
    inputs, judged = Inputs({"x": calibration}, False, "c"), Inputs({"x": held}, False, "e")
    evaluation = Evaluation(Split({"x": held}), "agreement")
    setting = Setting(capture_source(source), source, inputs, judged, evaluation, LocalDevice(), told.append)
    ranges = calibrate(setting.program, inputs, None, 32)

    def planner(name: str, kept: Collection[str]) -> QuantPlan:
        return ruined(plan_targets(setting.program, ranges, (name,), kept)["ort"])

    (made,) = quantize_all(setting, planner, ("ort-int8",), Wishes(max_drop=0.01, bisect=True))
    assert made.control is not None and made.control.verdict.state == "pass"
    assert made.kept == ("2",) and made.plan.precision["2"] == "fp32" and made.plan.precision["0"] == "int8"
    assert made.sensitivities is None and any("rebuild 3 of at most" in text for text in told)
    save_quantized(tmp_path, ranges, (made,))
    assert records.load(Control, tmp_path / "control-ort.json") == made.control
    with pytest.raises(UsageError, match="no max_drop"):
        quantized(setting, ("ort-int8",), Wishes(bisect=True))


def test_parts_of_a_lowered_activation_count_as_the_activation() -> None:
    plan = QuantPlan(
        "ort", {}, {"a": "int8", "act.scale": "int8", "act.add": "int8", "b": "fp32"}, "", {"act": "affine"}
    )
    assert integer_layers(plan) == ("a", "act")
