from __future__ import annotations

from dataclasses import replace

import pytest

from edgesmith.bench.clocks import Clocks, jumps
from edgesmith.bench.readiness import await_ready, unready
from edgesmith.bench.run import measure
from edgesmith.devices.entry import Rules
from edgesmith.devices.null import NULL_INFO, NullDevice
from tests.bench.samples import QUICK, model, rows


@pytest.mark.parametrize(
    ("facts", "rules", "words"),
    [
        ({"temperature_c": 60.0}, {"max_temperature_c": 70.0}, ""),
        ({"temperature_c": 80.0}, {"max_temperature_c": 70.0}, "80 C"),
        ({}, {"max_temperature_c": 70.0}, "not shown"),
        ({"governor": "powersave"}, {"governor": "performance"}, "powersave"),
        ({}, {"governor": "performance"}, "not shown"),
        ({"battery_percent": 20.0}, {"min_battery_percent": 50.0}, "20 %"),
        ({}, {"min_battery_percent": 50.0}, ""),
        ({}, {}, ""),
    ],
)
def test_rules(facts, rules, words):
    reason = unready(replace(NULL_INFO, **facts), Rules(**rules))
    assert (words in reason) if words else reason == ""


class Cooling(NullDevice):
    """Loses ten degrees a look."""

    warm = 95.0

    def info(self):
        self.warm -= 10
        return replace(NULL_INFO, temperature_c=self.warm)


def test_a_warm_device_is_given_its_time():
    device, waited = Cooling(), []
    device.rules = Rules(max_temperature_c=70.0, cool_down_s=60.0)
    assert await_ready(device, waited.append) == "" and waited == [5.0, 5.0]
    device = Cooling()
    device.rules = Rules(max_temperature_c=10.0, cool_down_s=7.0)
    assert "after 7 s" in await_ready(device, waited.append)


def test_a_device_that_breaks_a_rule_is_not_measured(tmp_path):
    device = NullDevice()
    device.rules = Rules(governor="performance")
    record = measure(device, tmp_path / "job", {"one": model(tmp_path / "m")}, rows(), QUICK, "one")
    assert record.measurements[0].state == "not_measured" and "governor" in record.measurements[0].reason
    assert device.commands == [] and record.sentinel_drift == float("inf")


def test_clocks_that_agree_say_nothing_and_others_are_told():
    start = Clocks(1000.0, 10.0, 10.0)
    assert jumps(start, Clocks(1060.3, 70.0, 70.0)) == ()
    assert "set by -3600 s" in jumps(start, Clocks(-2540.0, 70.0, 70.0))[0]
    (slept,) = jumps(start, Clocks(1160.0, 70.0, 170.0))
    assert "slept for 100 s" in slept
