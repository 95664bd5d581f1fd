import math

import numpy as np
import pytest

from edgesmith import records
from edgesmith.errors import UsageError
from edgesmith.results import Agreement
from edgesmith.verify.agreement import compare

RNG = np.random.default_rng(0)
LOGITS = RNG.standard_normal((50, 4)).astype(np.float32)


def test_an_equal_output_agrees_fully_but_not_with_certainty():
    (found,) = compare("ort-fp32", {"y": LOGITS}, {"y": LOGITS.copy()})
    assert found.top1 is not None and found.top1.value == 1.0
    assert found.top1.low < 0.95  # 50 samples cannot show more
    assert found.cosine.value == pytest.approx(1.0)
    assert (found.max_abs.value, found.max_abs.high) == (0.0, None)
    assert found.sqnr_db.value == 200.0
    assert found.problem == ""


def test_numbers_by_hand():
    reference = np.array([[3.0, 4.0], [1.0, 0.0]])
    candidate = np.array([[4.0, 3.0], [1.0, 0.0]])
    (found,) = compare("x", {"y": reference}, {"y": candidate})
    assert found.top1 is not None and found.top1.value == 0.5
    assert found.cosine.value == pytest.approx((24 / 25 + 1) / 2)
    assert (found.cosine_min.value, found.cosine_min.low) == (pytest.approx(0.96), None)
    assert (found.max_abs.value, found.max_abs.low) == (1.0, 1.0)
    assert found.sqnr_db.value == pytest.approx(10 * math.log10(26 / 2))
    assert found.cosine.low is None and found.sqnr_db.low is None  # two samples bound nothing
    assert found.n == 2


def test_quantization_noise_gives_intervals_around_the_truth():
    noisy = LOGITS + 0.01 * RNG.standard_normal(LOGITS.shape)
    (found,) = compare("ort-int8", {"y": LOGITS}, {"y": noisy})
    assert found.sqnr_db.low < 40.0 < found.sqnr_db.high  # a signal of 1 over a noise of 0.01
    assert found.cosine.low <= found.cosine.value <= found.cosine.high
    assert found.cosine_p1.low is None  # 50 samples have no lower bound for the first percentile


@pytest.mark.parametrize("shape", [(50, 1), (50, 2, 3), (50,)])
def test_top1_is_asked_only_of_scores(shape: tuple[int, ...]):
    array = RNG.standard_normal(shape)
    (found,) = compare("x", {"y": array}, {"y": array})
    assert found.top1 is None
    assert found.cosine.value == pytest.approx(1.0)


def test_what_cannot_agree_says_why():
    broken = LOGITS.copy()
    broken[3, 1] = np.nan
    outputs = {"a": LOGITS, "b": LOGITS, "c": LOGITS}
    nan, shape, absent = compare("x", outputs, {"a": broken, "b": LOGITS[:, :2]})
    assert nan.problem == "'a' holds NaN or infinity in 1 of 50 samples"
    assert "shape (50, 2), the original (50, 4)" in shape.problem
    assert absent.problem == "it has no output 'c'; it has 'a', 'b'; give its outputs the original's names"
    assert nan.cosine.low is None and math.isnan(nan.cosine.value)


def test_no_samples_give_no_numbers():
    (found,) = compare("x", {"y": LOGITS[:0]}, {"y": LOGITS[:0]})
    assert found.n == 0 and math.isnan(found.cosine.value) and found.top1 is None


def test_a_broken_original_is_refused():
    with pytest.raises(UsageError, match="holds NaN"):
        compare("x", {"y": np.array([[np.nan]])}, {"y": np.array([[1.0]])})
    with pytest.raises(UsageError, match="no outputs"):
        compare("x", {}, {})


def test_it_goes_through_json():
    (found,) = compare("x", {"y": LOGITS}, {"y": LOGITS * 1.01})
    assert records.from_json(Agreement, records.to_json(found)) == found
