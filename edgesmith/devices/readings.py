"""Facts out of what systems print: pure functions from text, and None for what the text does not say."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

# MIDR_EL1's implementer and part as /proc/cpuinfo prints them. Source: the linux kernel's arch/arm64 cputype.h.
_PARTS = {
    "0x41": {
        "0xd03": "Cortex-A53", "0xd04": "Cortex-A35", "0xd05": "Cortex-A55", "0xd07": "Cortex-A57",
        "0xd08": "Cortex-A72", "0xd09": "Cortex-A73", "0xd0a": "Cortex-A75", "0xd0b": "Cortex-A76",
        "0xd0c": "Neoverse-N1", "0xd0d": "Cortex-A77", "0xd40": "Neoverse-V1", "0xd41": "Cortex-A78",
        "0xd42": "Cortex-A78AE", "0xd44": "Cortex-X1", "0xd46": "Cortex-A510", "0xd47": "Cortex-A710",
        "0xd48": "Cortex-X2", "0xd49": "Neoverse-N2", "0xd4d": "Cortex-A715", "0xd4e": "Cortex-X3",
        "0xd4f": "Neoverse-V2", "0xd80": "Cortex-A520", "0xd81": "Cortex-A720", "0xd82": "Cortex-X4",
    },
    "0x4e": {"0x004": "Carmel"},
    "0x51": {"0x800": "Kryo 2xx Gold", "0x801": "Kryo 2xx Silver", "0x802": "Kryo 3xx Gold",
             "0x803": "Kryo 3xx Silver", "0x804": "Kryo 4xx Gold", "0x805": "Kryo 4xx Silver"},
}  # fmt: skip
_THERMAL = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")  # PowerManager's names
_MAKERS = {"0x41": "Arm", "0x4e": "NVIDIA", "0x51": "Qualcomm", "0x61": "Apple", "0x53": "Samsung", "0x48": "HiSilicon"}


def processors(cpuinfo: str) -> list[dict[str, str]]:
    """One mapping a processor of /proc/cpuinfo; lines behind the last one that name no processor are left out."""
    blocks = [_pairs(block) for block in cpuinfo.split("\n\n")]
    return [block for block in blocks if "processor" in block]


def cpu_model(cpuinfo: str) -> str | None:
    """The model of an x86 processor, or the cores of an Arm one, as in "4x Cortex-A55 + 4x Cortex-A76"."""
    found = processors(cpuinfo)
    names = [name for block in found if (name := block.get("model name"))]
    if names:
        return names[0]
    cores = Counter(_core(block) for block in found if "CPU part" in block)
    parts = sorted(cores.items(), key=lambda item: (-item[1], item[0]))
    return " + ".join(f"{count}x {name}" for name, count in parts) or None


def _core(block: Mapping[str, str]) -> str:
    maker, part = block.get("CPU implementer", ""), block["CPU part"]
    known = _PARTS.get(maker, {}).get(part)
    return known or f"{_MAKERS.get(maker, f'implementer {maker}')} part {part}"


def memory_total(meminfo: str) -> int | None:
    """Bytes of memory, from /proc/meminfo."""
    found = re.search(r"^MemTotal:\s+(\d+) kB", meminfo, re.M)
    return int(found[1]) * 1024 if found else None


def nvidia_driver(version: str) -> str | None:
    """The driver's version, from /proc/driver/nvidia/version."""
    found = re.search(r"Kernel Module(?: for \S+)?\s+(\d[\d.]*)", version)
    return f"NVIDIA {found[1]}" if found else None


def l4t_release(text: str) -> str | None:
    """The release of a Jetson's system, from /etc/nv_tegra_release."""
    found = re.search(r"^# R(\d+) \(release\), REVISION: ([\d.]+)", text)
    return f"L4T {found[1]}.{found[2]}" if found else None


def tegrastats(line: str) -> dict[str, float]:
    """Numbers of one line of tegrastats: temperatures (cpu_c, gpu_c, ...), ram_mb, gpu_percent, clocks, rails in mW.

    cpu_mhz is that of the fastest core that is on; a sensor that is off (-256 C) is left out.
    """
    found = {f"{name.lower()}_c": float(value) for name, value in re.findall(r"(\w+)@(-?[\d.]+)C\b", line)}
    found = {name: value for name, value in found.items() if value > -200}
    if ram := re.search(r"\bRAM (\d+)/(\d+)MB", line):
        found |= {"ram_mb": float(ram[1]), "ram_total_mb": float(ram[2])}
    if cores := re.search(r"\bCPU \[([^\]]*)\]", line):
        clocks = [float(clock) for clock in re.findall(r"%@(\d+)", cores[1])]
        found |= {"cpu_mhz": max(clocks)} if clocks else {}
    if gpu := re.search(r"\bGR3D_FREQ (\d+)%(?:@\[?(\d+))?", line):
        found |= {"gpu_percent": float(gpu[1]), **({"gpu_mhz": float(gpu[2])} if gpu[2] else {})}
    rails = re.findall(r"\b([A-Z][A-Z0-9_]+) (\d+)mW", line)
    return found | {f"{name.lower()}_mw": float(value) for name, value in rails}


def sysctl(text: str) -> dict[str, str]:
    """What macOS's `sysctl hw machdep.cpu kern.osproductversion` prints, by key."""
    return _pairs(text)


def mac_gpu(text: str) -> str | None:
    """The graphics processors, of macOS's `system_profiler SPDisplaysDataType`."""
    return ", ".join(re.findall(r"^\s*Chipset Model: (.+)$", text, re.M)) or None


def mac_battery(text: str) -> float | None:
    """Percent, of macOS's `pmset -g batt`."""
    found = re.search(r"InternalBattery\S*.*?(\d+)%", text)
    return float(found[1]) if found else None


def mac_throttling(text: str) -> str | None:
    """How far clocks are held down, of macOS's `pmset -g therm`; Macs with a processor of Apple give no percentage."""
    limit = re.search(r"CPU_Speed_Limit\s*=\s*(\d+)", text)
    if limit:
        return "none" if int(limit[1]) >= 100 else f"clocks at {int(limit[1])} %"
    level = re.search(r"[Tt]hermal warning level set to (\d+)", text)
    if level:
        return "none" if level[1] == "0" else f"warning level {level[1]}"
    return "none" if "No thermal warning level has been recorded" in text else None


def pi_throttling(text: str) -> str | None:
    """What holds now, of a Raspberry Pi's `vcgencmd get_throttled`. Source: its documentation, bits 0 to 3."""
    found = re.search(r"^throttled=0x([0-9a-fA-F]+)", text, re.M)
    words = ("under-voltage", "clock capped", "throttled", "soft temperature limit")
    bits = int(found[1], 16) if found else 0
    return (", ".join(word for bit, word in enumerate(words) if bits >> bit & 1) or "none") if found else None


def getprop(text: str) -> dict[str, str]:
    """What Android's `getprop` prints, by key."""
    return dict(re.findall(r"^\[([^\]]+)\]: \[([^\]]*)\]", text, re.M))


def battery(text: str) -> dict[str, float]:
    """percent, temperature_c and plugged (0 or 1) of Android's `dumpsys battery`."""
    found: dict[str, float] = {}
    if level := re.search(r"^\s*level: (\d+)", text, re.M):
        scale = re.search(r"^\s*scale: (\d+)", text, re.M)
        found["percent"] = 100 * float(level[1]) / (float(scale[1]) if scale and int(scale[1]) else 100)
    if warm := re.search(r"^\s*temperature: (-?\d+)", text, re.M):
        found["temperature_c"] = float(warm[1]) / 10
    if plugs := re.findall(r"powered: (true|false)", text):
        found["plugged"] = float("true" in plugs)
    return found


def thermalservice(text: str) -> dict[str, float]:
    """Temperatures by sensor in C, of Android's `dumpsys thermalservice`: as the hardware says now, else as cached."""
    _, now, current = text.partition("Current temperatures from HAL:")
    part = current if now else text
    part = part.partition("cooling devices")[0].partition("Temperature static thresholds")[0]
    rows = re.findall(r"Temperature\{mValue=(-?[\d.]+), mType=(-?\d+), mName=([^,}]+)", part)
    return {name: float(value) for value, _, name in rows if float(value) > -50}  # below it a sensor has no value


def throttling(text: str) -> str | None:
    """Android's thermal status of `dumpsys thermalservice`; from "moderate" on clocks are held down."""
    found = re.search(r"^\s*Thermal Status: (\d+)", text, re.M)
    if not found:
        return None
    return _THERMAL[int(found[1])] if int(found[1]) < len(_THERMAL) else f"status {found[1]}"


def cpu_load(text: str) -> float | None:
    """Percent of all cores in use, of Android's `dumpsys cpuinfo`."""
    found = re.search(r"^\s*([\d.]+)% TOTAL", text, re.M)
    return float(found[1]) if found else None


def clock_mhz(text: str) -> float | None:
    """The fastest core, of lines of scaling_cur_freq in kHz."""
    return max((int(line) / 1000 for line in text.split() if line.isdigit()), default=None)


def _pairs(text: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in text.splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, _, value in pairs}
