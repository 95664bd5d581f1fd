"""The best way to choose ranges, judged by samples that calibration did not see."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from edgesmith.errors import UsageError
from edgesmith.graph.capture import capture
from edgesmith.pipeline.choose_ranges import METHODS, best_ranges, calibrate_and_choose, check_ranges, likeness
from edgesmith.pipeline.produce import calibrate, plan_targets
from edgesmith.pipeline.sources import Inputs


def outliers(count: int = 60) -> Inputs:
    """Images whose values are small but for a few, as rare as they are large, that matter little."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(count, 3, 8, 8)).astype(np.float32)
    images[::7, 0, 0, 0] = 90.0
    return Inputs({"input": images}, False, "d")


def net() -> nn.Module:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())
    return nn.Sequential(body, nn.AvgPool2d(4), nn.Flatten(), nn.Linear(32, 6)).eval()


def test_the_choice_is_the_method_with_the_best_score_and_all_samples_count() -> None:
    program, inputs = capture(net(), (torch.zeros(1, 3, 8, 8),)), outliers()
    ranges, chosen = calibrate_and_choose(program, inputs, None, ("ort-int8", "openvino-int8"), batch=16)
    assert ranges.samples == 60
    whole = calibrate(program, inputs, None, 16)
    for edge, seen in whole.edges.items():
        np.testing.assert_allclose([seen.low, seen.high], [ranges.edges[edge].low, ranges.edges[edge].high], atol=1e-5)
    assert set(chosen) == {"ort-int8", "openvino-int8"}
    for choice in chosen.values():
        assert set(choice.scores) == set(METHODS)
        assert choice.scores[choice.method] == max(choice.scores.values()) > choice.scores["entropy"]
        assert f"ranges by {choice.method}" in choice.note


def test_the_score_is_the_cosine_of_what_the_plan_computes() -> None:
    program, inputs = capture(net(), (torch.zeros(1, 3, 8, 8),)), outliers()
    score = likeness(program, inputs, None)
    record = calibrate(program, inputs, None, 16)
    good = plan_targets(program, record, ("openvino-int8",))["openvino"]
    assert 0.9 < score(good) <= 1
    all_float = plan_targets(program, record, ("openvino-int8",), tuple(program.nodes))["openvino"]
    assert score(all_float) == pytest.approx(1, abs=1e-6) and score(all_float) > score(good)


def test_a_plan_without_a_score_is_not_chosen() -> None:
    program = capture(net(), (torch.zeros(1, 3, 8, 8),))
    plan = plan_targets(program, calibrate(program, outliers(), None, 16), ("ort-int8",))["ort"]
    scores = iter([math.nan, 0.3, 0.5, 0.5])
    assert best_ranges(lambda method: plan, lambda plan: next(scores)).method == METHODS[2]
    with pytest.raises(UsageError, match="no plan has a score"):
        best_ranges(lambda method: plan, lambda plan: math.nan)


def test_one_sample_leaves_none_to_judge_by() -> None:
    program = capture(net(), (torch.zeros(1, 3, 8, 8),))
    with pytest.raises(UsageError, match="1 samples"):
        calibrate_and_choose(program, outliers(1), None, ("ort-int8",), 8)
    with pytest.raises(UsageError, match="auto, minmax"):
        check_ranges("median")
