import math
from dataclasses import replace

import pytest

from edgesmith.results import Interval
from edgesmith.verify.baseline import Baseline, Known, Score, compare, difference, new_targets


def known(accuracy=0.9, half=0.001, p50=2.0, size=1000, macs=1.0, partitions=1, where="cpu, engine 1"):
    score = Score(Interval(accuracy, accuracy - half, accuracy + half), 1000)
    return Known({"top1": score}, size, Interval(p50, p50 * 0.99, p50 * 1.01), where, macs, partitions)


def states(old, new, data=("d", "d")):
    return {
        v.check: v.state for v in compare(Baseline({"ort-int8": old}, data[0]), Baseline({"ort-int8": new}, data[1]))
    }


def test_the_same_numbers_pass_whatever_their_intervals_are():
    assert set(states(known(half=0.2), known(half=0.2)).values()) == {"pass"}


@pytest.mark.parametrize(
    ("worse", "check"),
    [
        (known(accuracy=0.88), "baseline top1"),
        (known(p50=2.3), "baseline p50_ms"),
        (known(size=1011), "baseline size"),
        (known(macs=0.9), "baseline macs"),
        (known(partitions=2), "baseline partitions"),
    ],
)
def test_what_is_worse_beyond_the_limit_fails_alone(worse, check):
    found = states(known(), worse)
    assert found.pop(check) == "fail" and set(found.values()) == {"pass"}


def test_better_is_no_failure():
    better = known(accuracy=0.95, p50=1.0, size=500)
    assert set(states(known(), better).values()) == {"pass"}


def test_wide_intervals_decide_nothing():
    assert states(known(), known(accuracy=0.895, half=0.05))["baseline top1"] == "inconclusive"


def test_another_machine_or_other_data_is_never_compared():
    assert states(known(), known(where="another cpu"))["baseline p50_ms"] == "not_measured"
    assert states(known(), known(accuracy=0.1), data=("d", "e"))["baseline top1"] == "not_measured"


def test_targets_that_are_gone_or_new_are_said():
    before, now = Baseline({"a": known(), "b": known()}, "d"), Baseline({"b": known(), "c": known()}, "d")
    gone = [v for v in compare(before, now) if v.target == "a"]
    assert [v.state for v in gone] == ["not_measured"] and new_targets(before, now) == ("c",)


def test_what_is_no_longer_known_is_not_measured():
    found = states(known(), replace(known(), scores={}, p50_ms=None, size_bytes=None, macs_as_asked=None))
    assert set(found.values()) == {"not_measured", "pass"} and found["baseline partitions"] == "pass"


def test_the_difference_of_two_normal_estimates_has_the_textbook_interval():
    found = difference(Interval(1.0, 0.7, 1.3), Interval(0.5, 0.1, 0.9))
    assert (found.value, found.low, found.high) == pytest.approx((0.5, 0.0, 1.0))
    assert difference(Interval(1.0, None, 1.3), Interval(0.5, 0.1, math.inf)).low is None
