import math

import numpy as np
import pytest

from edgesmith.errors import UsageError
from edgesmith.multilabel_metrics import mean_ap
from edgesmith.verify.accuracy import judge
from edgesmith.verify.gate import Limits, gate


def made(samples: int = 200, classes: int = 8, seed: int = 0):
    rng = np.random.default_rng(seed)
    labels = (rng.random((samples, classes)) < 0.3).astype(np.int64)
    return labels, 2 * labels + rng.standard_normal(labels.shape)


def test_map_with_interval_and_paired_drop():
    labels, scores = made()
    near = scores + 0.02 * np.random.default_rng(1).standard_normal(scores.shape)
    far = scores + 2 * np.random.default_rng(2).standard_normal(scores.shape)
    outputs = {"torch-fp32": scores, "near": near, "far": far}
    first, second, third = judge("multilabel", {"labels": labels}, outputs, "torch-fp32")
    assert (first.metric, first.drop, first.n) == ("mAP", None, 200)
    assert first.estimate.value == mean_ap(scores, labels).macro
    assert first.estimate.low < first.estimate.value < first.estimate.high <= 1
    assert second.drop.high - second.drop.low < first.estimate.high - first.estimate.low  # drawn in pairs
    assert third.drop.low > 0.05 and third.drop.value == first.estimate.value - third.estimate.value
    assert {"CF1", "OF1", "top-3 CF1", "classes_skipped"} <= set(first.extra)
    assert first.extra["OF1"] > third.extra["OF1"]


def test_the_same_answers_leave_the_doubt_that_so_few_images_leave():
    labels, scores = made(40)
    _, same = judge("multilabel", {"labels": labels}, {"a": scores, "b": scores.copy()}, "a")
    assert same.drop.value == 0 and same.drop.high == pytest.approx(0.0876, abs=1e-4)  # z2 / (n + z2)
    (perfect,) = judge("multilabel", {"labels": labels}, {"a": labels.astype(float)}, "a")
    assert (perfect.estimate.value, perfect.estimate.high) == (1.0, 1.0)
    assert perfect.estimate.low == pytest.approx(1 - 0.0876, abs=1e-4)


def test_the_interval_of_the_estimate_takes_back_the_optimism_of_few_images():
    labels = np.zeros((90, 3), np.int64)
    labels[::12] = 1
    scores = labels + np.random.default_rng(4).standard_normal(labels.shape)
    (row,) = judge("multilabel", {"labels": labels}, {"a": scores}, "a")
    assert row.estimate.high - row.estimate.low > 0.15  # more than n = 90 alone leaves open
    assert row.estimate.value - row.estimate.low > 1.2 * (row.estimate.high - row.estimate.value)


def test_a_target_is_judged_by_its_map():
    labels, scores = made()
    far = scores + 2 * np.random.default_rng(2).standard_normal(scores.shape)
    rows = judge("multilabel", {"labels": labels}, {"a": scores, "b": far, "c": scores + 1e-4}, "a")
    found = gate(Limits(accuracy_drop=0.03), rows, (), None, ("b", "c"), "a", headline="mAP")
    states = {(v.target, v.check): v.state for v in found}
    assert states["b", "accuracy_drop"] == "fail" and states["c", "accuracy_drop"] == "pass"


def test_no_class_to_judge_is_no_evidence():
    _, scores = made(10)
    for labels in (np.ones((10, 8), int), np.full((10, 8), -1)):
        first, second = judge("multilabel", {"labels": labels}, {"a": scores, "b": scores}, "a")
        assert first.n == second.n == 0 and math.isnan(first.estimate.value) and second.drop is None
    labels, scores = made(50, classes=1)
    (one,) = judge("multilabel", {"labels": labels}, {"a": scores}, "a")
    assert one.n == 50 and one.extra["classes_skipped"] == 0


def test_refusals_and_rows_with_nan():
    labels, scores = made(20)
    with pytest.raises(UsageError, match=r"outputs of a as \(20, 8\)"):
        judge("multilabel", {"labels": labels}, {"a": scores[:, :7]}, "a")
    with pytest.raises(UsageError, match=r"values \[2\]"):
        judge("multilabel", {"labels": labels + 1}, {"a": scores}, "a")
    broken = scores.copy()
    broken[3] = np.nan
    _, row = judge("multilabel", {"labels": labels}, {"a": scores, "b": broken}, "a")
    assert row.extra["non_finite"] == 1
