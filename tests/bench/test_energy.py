from __future__ import annotations

import itertools
import math

import pytest

from edgesmith.bench.energy import Meter, Spent, added
from edgesmith.bench.worker import run_job
from edgesmith.devices.power import Found, Gauge
from edgesmith.records import from_json, to_json
from edgesmith.results import Measurement
from tests.bench.samples import QUICK
from tests.bench.test_worker import prepared


def gauge(unit: str = "joules", period_s: float = 0.0, wraps_at: tuple[float, ...] = ()) -> Gauge:
    numbers = itertools.count(7.0, 3.0)  # 3 more at each reading
    return Gauge("a gauge", unit, period_s, lambda: (next(numbers),), wraps_at)  # type: ignore[arg-type]


def blocks(*joules: float, seconds: float = 0.5, rows: int = 10) -> list[Spent]:
    return [Spent({"a gauge": one}, seconds, rows) for one in joules]


def test_a_counter_that_began_again_is_counted_on() -> None:
    assert added(gauge(wraps_at=(100.0, 50.0)), (95.0, 10.0), (5.0, 12.0), 1.0) == pytest.approx(10.0 + 2.0)
    assert added(gauge(), (10.0,), (12.5,), 1.0) == pytest.approx(2.5)


def test_one_that_went_back_with_no_known_range_is_unknown() -> None:
    assert math.isnan(added(gauge(), (95.0,), (5.0,), 1.0))


def test_a_power_is_integrated() -> None:
    assert added(gauge("watts"), (10.0, 1.0), (20.0, 1.0), 0.5) == pytest.approx(0.5 * (11 + 21) / 2)


def test_joules_for_an_inference_with_and_without_the_idle_power() -> None:
    meter = Meter(Found((gauge(),)))
    meter.idle = blocks(2.0, 4.0, seconds=1.0)  # 3 W
    (found,) = meter.told(blocks(*[5.0 + 0.1 * n for n in range(10)]))
    assert found.joules is not None and found.net_joules is not None
    assert found.joules.value == pytest.approx(0.545) and found.net_joules.value == pytest.approx(0.545 - 0.15)
    assert found.joules.low is not None and found.joules.low < 0.545
    assert (found.idle_w, found.idles_w, found.blocks) == (pytest.approx(3.0), (2.0, 4.0), 10)


def test_without_an_idle_power_nothing_is_subtracted() -> None:
    (found,) = Meter(Found((gauge(),))).told(blocks(5.0, 5.0))
    assert found.joules is not None and found.net_joules is None and found.idle_w is None


@pytest.mark.parametrize(
    ("found", "spent", "reason"),
    [
        (Found(()), blocks(1.0), "no energy counter here"),
        (Found((), (("RAPL", "no permission"),)), blocks(1.0), "no permission"),
        (Found((gauge(period_s=0.1),)), blocks(1.0, seconds=0.2), "200.0 ms, it is renewed every 100 ms"),
        (Found((gauge(),)), blocks(1.0, math.nan), "a reading failed"),
    ],
)
def test_what_is_not_measured_says_why(found: Found, spent: list[Spent], reason: str) -> None:
    (told,) = Meter(found).told(spent)
    assert told.joules is None and told.net_joules is None and reason in told.reason


def test_a_gauge_that_breaks_in_between_says_so() -> None:
    def read() -> tuple[float, ...]:
        if next(calls) > 0:
            raise OSError("gone")
        return (1.0,)

    calls = itertools.count()
    meter = Meter(Found((Gauge("a gauge", "joules", 0.0, read),)))
    with meter.watch() as spent:
        pass
    assert math.isnan(spent.joules["a gauge"])


def test_the_worker_reads_gauges_beside_its_blocks(tmp_path) -> None:  # type: ignore[no-untyped-def]
    row = run_job(tmp_path, prepared(tmp_path, "a"), lambda line: None, Found((gauge(),))).measurements[0]
    (found,) = row.energy
    runs = QUICK.block_size + 1  # one run of a block is no sample, but takes energy
    assert found.joules is not None and found.joules.value == pytest.approx(3.0 / runs)
    assert len(found.idles_w) == 2 and found.blocks == QUICK.blocks
    assert from_json(Measurement, to_json(row)) == row


def test_a_worker_without_gauges_says_so_and_takes_no_time_for_it(tmp_path) -> None:  # type: ignore[no-untyped-def]
    row = run_job(tmp_path, prepared(tmp_path, "a"), lambda line: None, Found(())).measurements[0]
    assert row.state == "measured" and "no energy counter" in row.energy[0].reason
