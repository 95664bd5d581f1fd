import math

import numpy as np
import pytest

from edgesmith.errors import UsageError
from edgesmith.results import Accuracy
from edgesmith.verify.accuracy import judge
from edgesmith.verify.agreement import compare
from edgesmith.verify.gate import Limits, gate


def by_name(found: tuple[Accuracy, ...]) -> dict[tuple[str, str], Accuracy]:
    return {(row.target, row.metric): row for row in found}


def test_top1_with_wilson_interval_and_drop():
    labels = np.arange(100) % 2
    perfect = np.eye(2)[labels]
    worse = perfect.copy()
    worse[:10] = 1 - worse[:10]
    rows = by_name(judge("top1", {"labels": labels}, {"torch-fp32": perfect, "ort-int8": worse}, "torch-fp32"))
    original, candidate = rows["torch-fp32", "top1"], rows["ort-int8", "top1"]
    assert (original.estimate.value, original.drop) == (1.0, None)
    assert candidate.estimate.value == 0.9
    assert candidate.estimate.low == pytest.approx(0.8256, abs=1e-4)  # Wilson for 90 of 100
    assert candidate.drop is not None and candidate.drop.value == pytest.approx(0.1)
    assert 0.03 < candidate.drop.low < 0.1 < candidate.drop.high < 0.2
    assert candidate.extra["mcnemar_p"] == pytest.approx(2 / 2**10)


def test_top1_of_nan_outputs_says_so():
    labels = np.arange(20) % 2
    broken = np.full((20, 2), np.nan)
    rows = by_name(judge("top1", {"labels": labels}, {"a": np.eye(2)[labels], "b": broken}, "a"))
    assert rows["b", "top1"].estimate.value == 0.0
    assert rows["b", "top1"].extra["non_finite"] == 20.0


def test_top1_of_no_samples_has_n_zero():
    (row,) = judge("top1", {"labels": np.zeros(0, int)}, {"a": np.zeros((0, 3))}, "a")
    assert row.n == 0 and math.isnan(row.estimate.value)


def test_labels_the_model_has_no_score_for_are_refused() -> None:
    scores = {"torch-fp32": np.zeros((3, 4), np.float32)}
    with pytest.raises(UsageError, match="label 4, but 4 scores"):
        judge("top1", {"labels": np.array([0, 1, 4])}, scores, "torch-fp32")


def test_labels_of_one_class_tell_nothing() -> None:
    scores = {"torch-fp32": np.eye(3)[[1] * 30], "ort-int8": np.eye(3)[[1] * 30]}
    found = judge("top1", {"labels": np.ones(30, int)}, scores, "torch-fp32")
    assert [row.n for row in found] == [0, 0] and "one class" in found[1].untold
    agreements = compare("ort-int8", {"y": scores["torch-fp32"]}, {"y": scores["ort-int8"]})
    _, verdict = gate(Limits(accuracy_drop=0.1), found, agreements, None, ("ort-int8",), "torch-fp32")
    assert verdict.state == "not_measured" and "all labels are of one class" in verdict.found
