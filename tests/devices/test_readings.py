"""Parsers against texts in the form that systems print (printed/README.md says where the forms come from)."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgesmith.devices import readings
from edgesmith.devices.android import phone_info

PRINTED = Path(__file__).with_name("printed")


def text(name: str) -> str:
    return (PRINTED / f"{name}.txt").read_text()


@pytest.mark.parametrize(
    ("name", "count", "model"),
    [
        ("cpuinfo-x86", 2, "11th Gen Intel(R) Core(TM) i7-1185G7 @ 3.00GHz"),
        ("cpuinfo-epyc", 1, "AMD EPYC"),
        ("cpuinfo-pi5", 4, "4x Cortex-A76"),
        ("cpuinfo-phone", 8, "4x Cortex-A715 + 3x Cortex-A510 + 1x Cortex-X3"),
        ("cpuinfo-unknown", 1, "1x implementer 0x99 part 0xfff"),
    ],
)
def test_processors(name, count, model):
    assert len(readings.processors(text(name))) == count and readings.cpu_model(text(name)) == model


def test_memory_and_drivers():
    assert readings.memory_total(text("meminfo")) == 11464440 * 1024
    assert readings.nvidia_driver(text("nvidia-version")) == "NVIDIA 535.183.01"
    assert readings.nvidia_driver(text("nvidia-version-open")) == "NVIDIA 540.4.0"
    assert readings.l4t_release(text("nv_tegra_release")) == "L4T 36.3.0"


def test_tegrastats_of_two_generations():
    orin, nano = readings.tegrastats(text("tegrastats-orin")), readings.tegrastats(text("tegrastats-nano"))
    assert (orin["cpu_c"], orin["cpu_mhz"], orin["gpu_percent"], orin["gpu_mhz"]) == (48.281, 1510, 45, 611)
    assert (orin["ram_mb"], orin["ram_total_mb"], orin["vdd_in_mw"]) == (2269, 7620, 4812)
    xavier = readings.tegrastats(text("tegrastats-xavier"))
    assert (xavier["cpu_c"], xavier["cpu_mhz"], xavier["gpu_mhz"], xavier["vdd_in_mw"]) == (39.5, 1907, 510, 5079)
    assert (nano["cpu_c"], nano["gpu_mhz"], nano["pom_5v_in_mw"]) == (36.5, 76, 2028) and "cv_c" not in nano


def test_a_mac():
    found = readings.sysctl(text("sysctl-macos"))
    assert (found["machdep.cpu.brand_string"], found["hw.memsize"]) == ("Apple M1", "17179869184")
    assert readings.mac_gpu(text("displays-macos")) == "Apple M1"
    assert readings.mac_battery(text("battery-macos")) == 97 and readings.mac_battery("Now drawing from 'AC'") is None


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (text("therm-macos-arm"), "none"),
        (text("therm-macos-intel"), "clocks at 63 %"),
        ("CPU_Speed_Limit \t= 100\n", "none"),
        ("Thermal warning level set to 1\n", "warning level 1"),
        ("", None),
    ],
)
def test_how_far_a_mac_holds_clocks_down(said, expected):
    assert readings.mac_throttling(said) == expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("throttled=0x0\n", "none"),
        ("throttled=0x50005\n", "under-voltage, throttled"),
        ("throttled=0x50000\n", "none"),  # has been, is no more
        ("VCHI initialization failed\n", None),
    ],
)
def test_how_far_a_raspberry_pi_holds_clocks_down(said, expected):
    assert readings.pi_throttling(said) == expected


def test_a_phones_dumps():
    battery, sensors = readings.battery(text("battery")), readings.thermalservice(text("thermalservice"))
    assert battery == {"percent": 84.0, "temperature_c": 29.7, "plugged": 1.0}
    assert sensors == {"CPU0": 47.9, "CPU7": 52.4, "GPU0": 44.0, "skin": 33.2}
    assert readings.throttling(text("thermalservice")) == "light" and readings.cpu_load(text("cpuinfo-dumpsys")) == 6.4
    assert readings.clock_mhz("300000\n2016000\ncat: no\n") == 2016.0


def test_without_current_temperatures_the_cached_ones_count():
    cached = text("thermalservice").partition("HAL Ready")[0]
    assert readings.thermalservice(cached) == {"CPU0": 80.1, "skin": 31.0}


def test_a_phone_is_described():
    said = {name: text(name) for name in ("getprop", "meminfo", "battery", "thermalservice")}
    said |= {"cpuinfo": text("cpuinfo-phone"), "governor": "walt\n", "clocks": "300000\n2016000\n"}
    said |= {"load": text("cpuinfo-dumpsys")}
    info = phone_info("p", said)
    assert info.cpu.startswith("Maker Phone 13, SM8550, 4x Cortex-A715") and info.os == "Android 14 (2024-06-05)"
    assert (info.cores, info.instruction_set, info.accelerator, info.governor) == (8, "arm64", "adreno", "walt")
    assert (info.clock_mhz, info.temperature_c, info.battery_percent) == (2016.0, 52.4, 84.0)
    assert (info.throttling, info.load_percent) == ("light", 6.4)


@pytest.mark.parametrize(
    ("properties", "cpuinfo", "machine", "expected"),
    [
        ("[ro.product.cpu.abi]: [arm64-v8a]", "", "", "arm64"),
        ("[ro.product.cpu.abi]: [x86_64]", "", "x86_64", "x86"),
        ("[ro.product.cpu.abi]: [x86_64]", text("cpuinfo-epyc"), "x86_64", "x86-vnni"),
        ("[ro.product.cpu.abi]: [x86]", text("cpuinfo-x86"), "x86_64", "x86-vnni"),
        ("[ro.product.cpu.abi]: [armeabi-v7a]", "", "aarch64", "armv7l"),  # a 64-bit kernel below 32-bit programs
        ("[ro.product.cpu.abi]: []\n[ro.product.cpu.abilist]: [arm64-v8a,armeabi-v7a]", "", "", "arm64"),
        ("", "", "aarch64", "arm64"),
        ("", "", "", ""),
    ],
)
def test_the_instruction_set_of_a_phone(properties, cpuinfo, machine, expected):
    assert phone_info("p", {"getprop": properties, "cpuinfo": cpuinfo, "machine": machine}).instruction_set == expected


def test_what_refuses_to_answer_is_not_known():
    info = phone_info("p", {})
    assert (info.temperature_c, info.governor, info.battery_percent, info.memory_bytes) == (None, None, None, 0)
    for parse in (readings.cpu_model, readings.memory_total, readings.nvidia_driver, readings.l4t_release):
        assert parse("") is None and parse("sh: permission denied") is None
    for parse in (readings.tegrastats, readings.battery, readings.thermalservice, readings.getprop):
        assert parse("") == {}
    assert readings.throttling("") is readings.cpu_load("") is readings.clock_mhz("") is None
