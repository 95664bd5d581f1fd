"""A drop on held-out samples: by labels where there are some, else by agreement with the original."""

import numpy as np
import pytest

from edgesmith.data.split import Evaluation, Split
from edgesmith.pipeline.judged_drop import drop_of, metric_of

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(100, 4)).astype(np.float32)
NOTHING = Evaluation(Split({"x": LOGITS}), "agreement")
LABELS = LOGITS.argmax(1)
LABELLED = Evaluation(Split({"x": LOGITS}, LABELS), "top1", {"labels": LABELS})


def spoilt(rows: int) -> np.ndarray:
    found = LOGITS.copy()
    found[:rows] *= -1
    return found


def test_labels_give_the_headline_of_their_protocol() -> None:
    found = drop_of(LABELLED, "ort-int8", {"y": LOGITS}, {"y": spoilt(10)}, classifier=True)
    assert found.metric == "top1" and found.n == 100 and found.drop.value == pytest.approx(0.1)
    assert found.drop.low is not None and 0 < found.drop.low < 0.1 < (found.drop.high or 0)


def test_a_classifier_without_labels_is_judged_by_agreement_an_embedding_by_cosine() -> None:
    agreement = drop_of(NOTHING, "ort-int8", {"y": LOGITS}, {"y": spoilt(10)}, classifier=True)
    assert agreement.metric == "agreement" and agreement.drop.value == pytest.approx(0.1)
    cosine = drop_of(NOTHING, "ort-int8", {"y": LOGITS}, {"y": spoilt(10)}, classifier=False)
    assert cosine.metric == "cosine" and cosine.drop.value == pytest.approx(0.2)  # 10 of 100 cosines are -1
    assert metric_of(LABELLED, True) == "top1"


def test_of_several_outputs_the_worst_counts() -> None:
    found = drop_of(NOTHING, "t", {"a": LOGITS, "b": LOGITS}, {"a": LOGITS, "b": spoilt(50)}, classifier=False)
    assert found.drop.value == pytest.approx(1.0)


def test_nan_is_a_failure_and_no_sample_is_no_measurement() -> None:
    broken = LOGITS.copy()
    broken[3] = np.nan
    for evaluation in (LABELLED, NOTHING):
        found = drop_of(evaluation, "t", {"y": LOGITS}, {"y": broken}, classifier=False)
        assert found.broken == "fail" and "NaN" in found.problem
