"""What a phone is, out of what its shell prints."""

from __future__ import annotations

from collections.abc import Mapping

from edgesmith.devices import readings
from edgesmith.devices.facts import instruction_set
from edgesmith.results import DeviceInfo

# Fact -> the command whose output tells it.
QUESTIONS: dict[str, tuple[str, ...]] = {
    "getprop": ("getprop",),
    "cpuinfo": ("cat", "/proc/cpuinfo"),
    "meminfo": ("cat", "/proc/meminfo"),
    "battery": ("dumpsys", "battery"),
    "thermalservice": ("dumpsys", "thermalservice"),
    "governor": ("cat", "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
    "load": ("dumpsys", "cpuinfo"),
    "machine": ("uname", "-m"),
    "clocks": ("sh", "-c", "cat /sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq"),
}
# Android's words for what it runs -> `uname -m`'s.
_MACHINES = {"arm64-v8a": "aarch64", "armeabi-v7a": "armv7l", "armeabi": "armv7l", "x86": "i686"}


def phone_info(name: str, said: Mapping[str, str]) -> DeviceInfo:
    """The facts of a phone; said: outputs of QUESTIONS, "" for what it refused to answer."""
    properties, cpuinfo = readings.getprop(said.get("getprop", "")), said.get("cpuinfo", "")
    battery, first = readings.battery(said.get("battery", "")), next(iter(readings.processors(cpuinfo)), {})
    abi = properties.get("ro.product.cpu.abi") or properties.get("ro.product.cpu.abilist", "").partition(",")[0]
    release, patch = properties.get("ro.build.version.release", ""), properties.get("ro.build.version.security_patch")
    return DeviceInfo(
        name=name,
        os=f"Android {release}" + (f" ({patch})" if patch else ""),
        cpu=_processor(properties, cpuinfo),
        cores=len(readings.processors(cpuinfo)) or 1,
        memory_bytes=readings.memory_total(said.get("meminfo", "")) or 0,
        instruction_set=instruction_set(_MACHINES.get(abi, abi) or said.get("machine", "").strip(), first),
        python="",
        accelerator=properties.get("ro.hardware.egl") or None,
        governor=said.get("governor", "").strip() or None,
        clock_mhz=readings.clock_mhz(said.get("clocks", "")),
        temperature_c=_temperature_c(said, battery),
        battery_percent=battery.get("percent"),
        throttling=readings.throttling(said.get("thermalservice", "")),
        load_percent=readings.cpu_load(said.get("load", "")),
    )


def _processor(properties: Mapping[str, str], cpuinfo: str) -> str:
    chip = properties.get("ro.soc.model") or properties.get("ro.board.platform") or ""
    model = " ".join(filter(None, (properties.get("ro.product.manufacturer"), properties.get("ro.product.model"))))
    cores = readings.cpu_model(cpuinfo)
    return ", ".join(filter(None, (model, chip, cores))) or "unknown"


def _temperature_c(said: Mapping[str, str], battery: Mapping[str, float]) -> float | None:
    """The hottest processor sensor, else the hottest of all, else the battery."""
    sensors = readings.thermalservice(said.get("thermalservice", ""))
    own = [value for name, value in sensors.items() if name.upper().startswith(("CPU", "TYPE_CPU", "AP"))]
    return max(own or sensors.values(), default=battery.get("temperature_c"))
