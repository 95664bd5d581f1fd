from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from edgesmith.devices.power import Found, find

TREES = Path(__file__).parent / "power"


def no_library() -> Any:
    raise OSError("libnvidia-ml.so.1: cannot open shared object file")


def the_gauge(tree: str) -> Any:
    found = find(TREES / tree, no_library)
    assert len(found.gauges) == 1 and not found.barred
    return found.gauges[0]


def test_packages_and_their_memory_are_counted_once() -> None:
    gauge = the_gauge("xeon")
    assert gauge.source == "RAPL package-0, dram, package-1, dram" and gauge.unit == "joules"
    assert gauge.read() == pytest.approx((262143.0, 3.0, 10.0, 4.0))
    assert gauge.wraps_at == pytest.approx((262143.32885, 65712.999613, 262143.32885, 65712.999613))


def test_parts_of_a_package_and_what_is_more_than_it_are_left_out() -> None:
    gauge = the_gauge("laptop")
    assert (gauge.source, gauge.read()) == ("RAPL package-0", (51.0,))


def test_a_rail_that_feeds_the_board_is_the_board() -> None:
    gauge = the_gauge("orin-nano")
    assert (gauge.source, gauge.unit) == ("INA3221 VDD_IN", "watts")
    assert gauge.read() == pytest.approx((5.08,))


def test_without_such_a_rail_all_parts_of_all_chips_are_the_board() -> None:
    gauge = the_gauge("orin-agx")
    assert gauge.source == "INA3221 VDD_GPU_SOC, VDD_CPU_CV, VIN_SYS_5V0, VDDQ_VDD2_1V8AO"
    assert sum(gauge.read()) == pytest.approx(2.0 + 4.0 + 1.5 + 1.0)


def test_a_counter_that_refuses_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.read_text

    def refusing(path: Path, *words: Any, **options: Any) -> str:
        if path.name == "energy_uj":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *words, **options)

    monkeypatch.setattr(Path, "read_text", refusing)
    check_barred(find(TREES / "laptop", no_library))


def check_barred(found: Found) -> None:
    assert not found.gauges
    ((source, reason),) = found.barred
    assert source == "RAPL package-0" and "no permission" in reason and "energy_uj" in reason


def test_a_sensor_that_gives_no_number_says_so(tmp_path: Path) -> None:
    shutil.copytree(TREES / "orin-nano", tmp_path / "t")
    (tmp_path / "t/sys/class/hwmon/hwmon1/curr1_input").write_text("")
    found = find(tmp_path / "t", no_library)
    assert not found.gauges and found.barred[0][0] == "INA3221 VDD_IN"


def test_a_machine_without_any_has_none(tmp_path: Path) -> None:
    assert find(tmp_path, no_library) == Found(())


class Library:
    """NVML as far as it is asked, for two GPUs."""

    def __init__(self, starts: int = 0, energy: int = 0) -> None:
        self.starts, self.energy = starts, energy

    def nvmlInit_v2(self) -> int:
        return self.starts

    def nvmlDeviceGetCount_v2(self, count: Any) -> int:
        count._obj.value = 2
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index: int, handle: Any) -> int:
        handle._obj.value = index + 1
        return 0

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: Any, millijoules: Any) -> int:
        millijoules._obj.value = (1 << 40) + 1000 * handle.value  # more than 32 bits
        return self.energy

    def nvmlDeviceGetPowerUsage(self, handle: Any, milliwatts: Any) -> int:
        milliwatts._obj.value = 50_000 * handle.value
        return 0


def test_gpus_count_millijoules(tmp_path: Path) -> None:
    (gauge,) = find(tmp_path, Library).gauges
    assert (gauge.source, gauge.unit) == ("NVML 2 GPUs", "joules")
    assert gauge.read() == pytest.approx(((1 << 40) / 1e3 + 1, (1 << 40) / 1e3 + 2))


def test_older_gpus_tell_their_power(tmp_path: Path) -> None:
    not_supported = 3  # NVML_ERROR_NOT_SUPPORTED
    (gauge,) = find(tmp_path, lambda: Library(energy=not_supported)).gauges
    assert (gauge.unit, gauge.read()) == ("watts", (50.0, 100.0))


def test_a_library_without_a_driver_is_a_reason(tmp_path: Path) -> None:
    found = find(tmp_path, lambda: Library(starts=9))  # NVML_ERROR_DRIVER_NOT_LOADED
    assert not found.gauges and found.barred[0][0] == "NVML" and "driver" in found.barred[0][1]
