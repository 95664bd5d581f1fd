import math

import numpy as np
import pytest

from edgesmith.results import Accuracy, BenchRecord, DeviceInfo, Interval, Latency, Measurement, Verdict
from edgesmith.verify.accuracy import judge
from edgesmith.verify.agreement import compare
from edgesmith.verify.gate import Limits, decide, gate, overall

DEVICE = DeviceInfo("here", "linux", "cpu", 2, 1 << 30, "x86", "3.11")


def accuracy(target: str, drop: Interval | None, n: int = 1000, metric: str = "top1") -> Accuracy:
    return Accuracy(target, metric, Interval(0.9, 0.88, 0.92), drop, n)


def bench(sentinel: tuple[float, float] = (1.0, 1.0), **medians: float) -> BenchRecord:
    rng = np.random.default_rng(0)
    rows = []
    for name, median in medians.items():
        blocks = tuple(tuple(median * (1 + 0.01 * rng.standard_normal(20))) for _ in range(10))
        rows.append(Measurement(name, "measured", latency=Latency(blocks, 20)))
    return BenchRecord(DEVICE, tuple(rows), "eager", sentinel)


def state_of(verdicts: tuple[Verdict, ...], check: str, target: str = "a") -> Verdict:
    (found,) = [v for v in verdicts if v.check == check and v.target == target]
    return found


@pytest.mark.parametrize(
    ("interval", "op", "limit", "state"),
    [
        (Interval(0.004, 0.001, 0.009), "<=", 0.01, "pass"),
        (Interval(0.004, 0.001, 0.011), "<=", 0.01, "inconclusive"),  # the point holds, the interval does not
        (Interval(0.02, 0.009, 0.03), "<=", 0.01, "inconclusive"),  # the point breaks it, perhaps by chance
        (Interval(0.02, 0.012, 0.03), "<=", 0.01, "fail"),
        (Interval(0.99, 0.98, 1.0), ">=", 0.98, "pass"),
        (Interval(0.99, 0.97, 1.0), ">=", 0.98, "inconclusive"),
        (Interval(0.9, 0.8, 0.97), ">=", 0.98, "fail"),
        (Interval(0.99, None, None), ">=", 0.98, "inconclusive"),  # an open end never passes
        (Interval(math.nan, None, None), "<=", 1.0, "not_measured"),
    ],
)
def test_decide_by_the_ends_of_the_interval(interval: Interval, op: str, limit: float, state: str):
    assert decide(interval, op, limit, 100)[0] == state


def test_decide_with_no_samples_is_not_a_pass():
    assert decide(Interval(0.0, 0.0, 0.0), "<=", 1.0, 0) == ("not_measured", None)


def test_more_samples_by_hand():
    # half width 0.02, distance to the limit 0.01: four times the samples.
    assert decide(Interval(0.0, -0.02, 0.02), "<=", 0.01, 100) == ("inconclusive", 300)
    assert decide(Interval(0.03, 0.01, 0.05), "<=", 0.02, 100) == ("inconclusive", 300)
    assert decide(Interval(0.01, 0.0, 0.02), "<=", 0.01, 100) == ("inconclusive", None)  # on the limit: no number


def test_more_samples_do_decide():
    labels = np.arange(100) % 2
    right = np.eye(2)[labels]
    (_, few) = judge("top1", {"labels": labels}, {"r": right, "a": right}, "r")
    verdict = state_of(gate(Limits(accuracy_drop=0.01), [few], [], None, ["a"]), "accuracy_drop")
    assert verdict.state == "inconclusive" and verdict.more is not None
    n = 100 + verdict.more
    labels = np.arange(n) % 2
    right = np.eye(2)[labels]
    (_, enough) = judge("top1", {"labels": labels}, {"r": right, "a": right}, "r")
    assert state_of(gate(Limits(accuracy_drop=0.01), [enough], [], None, ["a"]), "accuracy_drop").state == "pass"


def test_the_reference_is_not_judged_and_required_targets_come_first():
    rows = [accuracy("b", Interval(0.0, -0.001, 0.001)), accuracy("eager", None)]
    found = gate(Limits(accuracy_drop=0.01), rows, [], None, ["a"], reference="eager")
    assert [v.target for v in found] == ["a", "b", "b"]
    assert [v.state for v in found] == ["not_measured", "pass", "pass"]


def test_drops_of_other_metrics_have_their_own_limit():
    rows = [accuracy("a", Interval(0.03, 0.025, 0.04), metric="tar@1e-2")]
    found = gate(Limits(drops={"tar@1e-2": 0.02, "tar_all@1e-4": 0.02}), rows, [], None, ["a"])
    assert state_of(found, "drop of tar@1e-2").state == "fail"
    assert state_of(found, "drop of tar_all@1e-4").state == "not_measured"


def test_agreement_and_cosine_of_real_outputs():
    reference = {"y": np.random.default_rng(0).standard_normal((500, 10))}
    near = compare("a", reference, {"y": reference["y"] * 1.001})
    found = gate(Limits(agreement=0.98, cosine=0.999), [], near, None, ["a"])
    assert [v.state for v in found] == ["pass", "pass", "pass"]
    far = compare("a", reference, {"y": -reference["y"]})
    found = gate(Limits(agreement=0.98, cosine=0.999), [], far, None, ["a"])
    assert [v.state for v in found] == ["pass", "fail", "fail"]  # it runs, and is wrong


def test_a_vacuous_comparison_is_not_a_pass():
    empty = compare("a", {"y": np.zeros((0, 3))}, {"y": np.zeros((0, 3))})
    found = gate(Limits(agreement=0.5, cosine=0.5), [], empty, None, ["a"])
    assert {v.state for v in found} == {"not_measured"}
    assert overall(found, ["a"]) == ("not_measured", 5)


def test_nan_outputs_fail_whatever_the_limits():
    reference = {"y": np.ones((20, 3))}
    broken = compare("a", reference, {"y": np.full((20, 3), np.nan)})
    limits = Limits(accuracy_drop=1.0, agreement=0.0, cosine=-1.0, p50_ms=1e9)
    found = gate(limits, [], broken, bench(a=1.0, eager=2.0), ["a"])
    assert [(v.check, v.state) for v in found] == [("runs", "fail")]
    assert "NaN" in found[0].found


def test_cosine_of_embeddings_comes_from_accuracy_when_there_is_no_agreement():
    row = Accuracy("a", "cosine", Interval(0.999, 0.998, 0.9995), None, 200)
    assert state_of(gate(Limits(cosine=0.99), [row], [], None, ["a"]), "cosine").state == "pass"


def test_latency_and_speedup():
    limits = Limits(p50_ms=2.0, speedup=3.0)
    found = gate(limits, [], [], bench(a=1.0, b=5.0, eager=4.0), ["a"])
    assert state_of(found, "p50_ms").state == "pass"
    assert state_of(found, "speedup").state == "pass"
    assert state_of(found, "p50_ms", "b").state == "fail"
    assert state_of(found, "speedup", "b").state == "fail"
    assert overall(found, ["a"]) == ("pass", 0)  # b is optional


@pytest.mark.parametrize("sentinel", [(1.0, 1.2), (1.2, 1.0), (0.0, 0.0), (math.nan, 1.0)])
def test_an_unsteady_machine_decides_no_latency(sentinel: tuple[float, float]):
    found = gate(Limits(p50_ms=2.0), [], [], bench(sentinel, a=1.0, eager=4.0), ["a"])
    assert state_of(found, "p50_ms").state == "inconclusive"
    assert state_of(found, "runs").state == "pass"


def test_failed_and_absent_measurements():
    failed = Measurement("a", "failed", "engine crashed")
    absent = Measurement("b", "not_measured", "tensorrt is not installed")
    record = BenchRecord(DEVICE, (failed, absent), "eager", (1.0, 1.0))
    found = gate(Limits(p50_ms=2.0), [], [], record, ["a", "b"], failures={"c": "no operator Foo"})
    assert [(v.target, v.state) for v in found if v.check == "runs"] == [
        ("a", "fail"),
        ("b", "not_measured"),
        ("c", "fail"),
    ]
    assert state_of(found, "runs", "b").found == "tensorrt is not installed"
    assert overall(found, ["a"]) == ("fail", 1)
    assert overall(found, ["b"]) == ("not_measured", 5)


def test_speedup_without_a_timed_reference_is_not_measured():
    found = gate(Limits(speedup=1.0), [], [], bench(a=1.0), ["a"])
    assert state_of(found, "speedup").state == "not_measured"


def verdict(target: str, state: str) -> Verdict:
    return Verdict("c", target, state, "", "")  # type: ignore[arg-type]


def test_overall_takes_the_worst_of_the_required():
    mixed = [verdict("a", "pass"), verdict("b", "inconclusive"), verdict("c", "fail")]
    assert overall(mixed, ["a"]) == ("pass", 0)
    assert overall(mixed, ["a", "b"]) == ("inconclusive", 5)
    assert overall(mixed, ["a", "b", "c"]) == ("fail", 1)
    assert overall(mixed, ["a", "unseen"]) == ("not_measured", 5)
    assert overall([], []) == ("not_measured", 0)
    with pytest.raises(TypeError):
        bool(mixed[0])


def test_one_of_many_questions_needs_more_to_fail():
    """Twenty targets with a false alarm each at 95 %: alone it is a fail, as one of twenty it is not."""
    bad = Interval(0.02, 0.0101, 0.03)
    assert (
        state_of(gate(Limits(accuracy_drop=0.01), [accuracy("a", bad)], [], None, ["a"]), "accuracy_drop").state
        == "fail"
    )
    rows = [accuracy("a", bad), *(accuracy(f"b{n}", Interval(0.0, -0.001, 0.001)) for n in range(19))]
    found = gate(Limits(accuracy_drop=0.01), rows, [], None, ["a"])
    verdict = state_of(found, "accuracy_drop")
    assert verdict.state == "inconclusive" and verdict.more is not None
    assert "one of 20 questions" in verdict.found and "99.75 %" in verdict.found
    assert {v.state for v in found if v.target != "a"} == {"pass"}  # passing needs no correction
    clear = [accuracy("a", Interval(0.05, 0.04, 0.06)), *rows[1:]]
    assert state_of(gate(Limits(accuracy_drop=0.01), clear, [], None, ["a"]), "accuracy_drop").state == "fail"
