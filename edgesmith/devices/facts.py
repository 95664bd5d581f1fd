"""What this machine is, by the standard library alone; what a system does not show is None, never a guess."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgesmith.devices import readings
from edgesmith.results import DeviceInfo

_CPU0 = "sys/devices/system/cpu/cpu0/cpufreq"
_TEGRASTATS = ("tegrastats", "--interval", "100")
_PI_THROTTLING = ("vcgencmd", "get_throttled")
_PRINT_S = 5.0
# Fact -> the command of macOS whose output tells it.
MAC_QUESTIONS: dict[str, tuple[str, ...]] = {
    "sysctl": ("sysctl", "hw", "machdep.cpu", "kern.osproductversion"),
    "displays": ("system_profiler", "SPDisplaysDataType"),
    "battery": ("pmset", "-g", "batt"),
    "therm": ("pmset", "-g", "therm"),
}
_VNNI = {"avx512_vnni", "avx_vnni"}
_CPU_ZONES = ("x86_pkg_temp", "cpu")


def this_machine(name: str = "local") -> DeviceInfo:
    """The facts of the machine this runs on."""
    if platform.system() == "Darwin":
        return mac_info(name, {fact: printed(argv) for fact, argv in MAC_QUESTIONS.items()})
    text = _read("proc/cpuinfo")
    cpuinfo, jetson = _cpuinfo(text), readings.tegrastats(printed(_TEGRASTATS, lines=1))
    warmest = temperature_c()
    return DeviceInfo(
        name=name,
        os=f"{platform.system()} {platform.release()}",
        cpu=_cpu_model(text),
        cores=_cores(),
        memory_bytes=_memory_bytes(),
        instruction_set=instruction_set(platform.machine(), cpuinfo),
        python=platform.python_version(),
        accelerator=_accelerator(),
        governor=_read(f"{_CPU0}/scaling_governor") or None,
        clock_mhz=jetson.get("cpu_mhz", _clock_mhz(cpuinfo)),
        temperature_c=jetson.get("cpu_c") if warmest is None else warmest,
        driver=readings.nvidia_driver(_read("proc/driver/nvidia/version"))
        or readings.l4t_release(_read("etc/nv_tegra_release")),
        battery_percent=_battery_percent(),
        accelerator_clock_mhz=jetson.get("gpu_mhz"),
        throttling=readings.pi_throttling(printed(_PI_THROTTLING)),
        load_percent=_load_percent(),
    )


def mac_info(name: str, said: Mapping[str, str]) -> DeviceInfo:
    """The facts of a Mac; said: outputs of MAC_QUESTIONS, "" for what it refused to answer."""
    system = readings.sysctl(said.get("sysctl", ""))
    clock, memory = system.get("hw.cpufrequency", ""), system.get("hw.memsize", "")
    release = system.get("kern.osproductversion", "")
    return DeviceInfo(
        name=name,
        os=f"macOS {release}" if release else f"{platform.system()} {platform.release()}",
        cpu=system.get("machdep.cpu.brand_string") or platform.machine(),
        cores=int(system.get("hw.logicalcpu") or system.get("hw.ncpu") or _cores()),
        memory_bytes=int(memory) if memory.isdigit() else _memory_bytes(),
        instruction_set=instruction_set(platform.machine(), {}),
        python=platform.python_version(),
        accelerator=readings.mac_gpu(said.get("displays", "")),
        clock_mhz=int(clock) / 1e6 if clock.isdigit() else None,  # processors of Apple do not show theirs
        battery_percent=readings.mac_battery(said.get("battery", "")),
        throttling=readings.mac_throttling(said.get("therm", "")),
        load_percent=_load_percent(),
    )


def own_instruction_set() -> str:
    """The instruction set of the machine this runs on."""
    return instruction_set(platform.machine(), _cpuinfo(_read("proc/cpuinfo")))


def printed(argv: Sequence[str], lines: int | None = None) -> str:
    """What a program prints, or its first lines if it never ends; "" where it is not there or refuses."""
    program = shutil.which(argv[0])
    if program is None:
        return ""
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(
            [program, *argv[1:]], stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.DEVNULL
        )
        try:
            deadline = time.monotonic() + _PRINT_S
            while process.poll() is None and time.monotonic() < deadline:
                if lines is not None and os.pread(out.fileno(), 1 << 16, 0).count(b"\n") >= lines:
                    break
                time.sleep(0.01)
        finally:
            process.kill()
            process.wait()
        return os.pread(out.fileno(), 1 << 20, 0).decode(errors="replace")


def instruction_set(machine: str, cpuinfo: dict[str, str]) -> str:
    """ "x86-vnni", "x86" or "arm64", else the machine's own word; cpuinfo is /proc/cpuinfo's first processor."""
    machine = machine.lower()
    if machine in ("x86_64", "amd64", "i686"):
        return "x86-vnni" if _VNNI & set(cpuinfo.get("flags", "").split()) else "x86"
    return "arm64" if machine in ("arm64", "aarch64") else machine


def temperature_c(root: Path = Path("/")) -> float | None:
    """The processor's temperature: its own thermal zone, else the hottest zone there is."""
    zones: dict[str, float] = {}
    for folder in sorted(root.glob("sys/class/thermal/thermal_zone*")):
        reading = _read(str(folder.relative_to(root) / "temp"), root)
        with contextlib.suppress(ValueError):
            zones[_read(str(folder.relative_to(root) / "type"), root).lower()] = int(reading) / 1000
    own = [value for kind, value in zones.items() if kind.startswith(_CPU_ZONES)]
    return max(own or zones.values(), default=None)


def _read(path: str, root: Path = Path("/")) -> str:
    try:
        return (root / path).read_text(errors="replace").strip("\0\n ")
    except OSError:
        return ""  # not shown by this system


def _cpuinfo(text: str) -> dict[str, str]:
    first = text.split("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _cpu_model(cpuinfo: str) -> str:
    """The processor's own name, else the board and its cores."""
    cores, board = readings.cpu_model(cpuinfo), _read("proc/device-tree/model")
    known = f"{board}, {cores}" if board and cores else cores or board
    return known or platform.processor() or platform.machine()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _load_percent() -> float | None:
    """The load average of the last minute."""
    try:
        return round(100 * os.getloadavg()[0] / (os.cpu_count() or 1), 1)
    except OSError:
        return None


def _battery_percent(root: Path = Path("/")) -> float | None:
    """The first battery's charge."""
    found = (
        _read(str(path.relative_to(root)), root) for path in sorted(root.glob("sys/class/power_supply/*/capacity"))
    )
    return next((float(text) for text in found if text.isdigit()), None)


def _memory_bytes() -> int:
    """Physical memory, or the limit of this control group where that is lower."""
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return 0
    limit = _read("sys/fs/cgroup/memory.max")
    return min(total, int(limit)) if limit.isdigit() else total


def _clock_mhz(cpuinfo: dict[str, str]) -> float | None:
    current = _read(f"{_CPU0}/scaling_cur_freq")
    if current.isdigit():
        return int(current) / 1000
    with contextlib.suppress(KeyError, ValueError):
        return float(cpuinfo["cpu MHz"])
    return None


def _accelerator() -> str | None:
    """The names of NVIDIA GPUs as their driver shows them (a Jetson's GPU is part of its board)."""
    cards = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    names = [_cpuinfo(_read(str(card))).get("Model", "NVIDIA GPU") for card in cards]
    if not names and "tegra" in _read("proc/device-tree/compatible"):
        names = [f"GPU of {_read('proc/device-tree/model')}"]
    return ", ".join(names) or None
