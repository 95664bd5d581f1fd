import math

import pytest

from edgesmith import records
from edgesmith.results import (
    Accuracy,
    Agreement,
    BenchRecord,
    DeviceInfo,
    Drift,
    Interval,
    Latency,
    Measurement,
    Placement,
    Verdict,
)

NUMBER = Interval(0.5, None, 0.75)
BENCH = BenchRecord(
    DeviceInfo("here", "linux", "cpu", 2, 1 << 30, "x86-vnni", "3.11", clock_mhz=2400.0),
    (
        Measurement("a", "measured", latency=Latency(((1.0, 2.0), (3.0,)), 20), load_ms=(5.0, 4.0), notes=("n",)),
        Measurement("b", "failed", "crashed"),
    ),
    "a",
    (1.0, 1.25),
)


@pytest.mark.parametrize(
    "record",
    [
        BENCH,
        Accuracy("a", "top1", NUMBER, NUMBER, 10, {"fold_std": 0.1}),
        Accuracy("a", "top1", NUMBER, None, 10),
        Agreement("a", "y", 3, None, NUMBER, NUMBER, NUMBER, NUMBER, NUMBER, "shape"),
        Drift("conv", "Conv", 20.0, None, 0.1),
        Placement("a", {"int8": 0.9, "fp32": 0.1}, {"cpu": 1.0}, "onnxruntime"),
        Verdict("p50_ms", "a", "inconclusive", "<= 2", "1.9 to 2.1", more=30),
    ],
    ids=lambda record: type(record).__name__,
)
def test_every_record_goes_through_json(record: object):
    assert records.from_json(type(record), records.to_json(record)) == record


def test_latency_keeps_every_sample_in_order():
    latency = BENCH.measurements[0].latency
    assert latency is not None and latency.samples_ms == (1.0, 2.0, 3.0)


def test_sentinel_drift_is_never_steady_by_mistake():
    assert BENCH.sentinel_drift == 0.25
    for sentinel in ((0.0, 0.0), (math.nan, 1.0), (1.0, math.nan)):
        drift = BenchRecord(BENCH.device, (), "a", sentinel).sentinel_drift
        assert not drift <= 0.1


def test_a_verdict_has_no_truth_value():
    with pytest.raises(TypeError, match="four states"):
        bool(Verdict("c", "t", "fail", "", ""))
