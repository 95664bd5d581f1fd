"""Energy counters and power sensors of the machine this runs on; every source is read by files or by NVIDIA's library.

Sources: Linux's Documentation/power/powercap/powercap.rst (RAPL: energy_uj, max_energy_range_uj) and
Documentation/hwmon/ina3221.rst (in*_input in mV, curr*_input in mA); NVIDIA's NVML API reference.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

_PACKAGES = ("package", "dram")  # the memory is not part of its package; core and uncore are, psys is more than both
_WHOLE_BOARD = ("VDD_IN", "POM_5V_IN")  # a rail that feeds all the others
_RAPL_PERIOD_S, _INA_PERIOD_S, _NVML_PERIOD_S = 0.001, 0.01, 0.1
_ENERGY_SINCE_VOLTA = "nvmlDeviceGetTotalEnergyConsumption"


@dataclass(frozen=True)
class Gauge:
    """One source of numbers.

    unit: "joules" for a counter that grows, "watts" for the power of the moment. period_s: how often its number is
    renewed. read: the number now; raises OSError. wraps_at: joules at which a counter begins again at 0, inf for never.
    """

    source: str
    unit: Literal["joules", "watts"]
    period_s: float
    read: Callable[[], tuple[float, ...]]
    wraps_at: tuple[float, ...] = ()


@dataclass(frozen=True)
class Found:
    """The gauges there are, and for each one that is there but cannot be read, its name and why."""

    gauges: tuple[Gauge, ...]
    barred: tuple[tuple[str, str], ...] = ()


def find(root: Path = Path("/"), nvml: Callable[[], Any] | None = None) -> Found:
    """Every gauge below a root file system and of NVIDIA's library."""
    found = [_rapl(root), _ina(root), _nvidia(nvml or _nvml)]
    return Found(
        tuple(gauge for one in found for gauge in one.gauges), tuple(reason for one in found for reason in one.barred)
    )


def _rapl(root: Path) -> Found:
    """Packages and memory of Intel and AMD processors; zones of zones (core, uncore) are parts of them."""
    zones = [
        zone
        for zone in sorted((root / "sys/class/powercap").glob("intel-rapl:*"))
        if _text(zone / "name").startswith(_PACKAGES)
    ]
    if not zones:
        return Found(())
    counters = tuple(zone / "energy_uj" for zone in zones)
    source = "RAPL " + ", ".join(_text(zone / "name") for zone in zones)
    ranges = tuple(float(_text(zone / "max_energy_range_uj") or "inf") / 1e6 for zone in zones)

    def read() -> tuple[float, ...]:
        return tuple(int(counter.read_text()) / 1e6 for counter in counters)

    return _tried(Gauge(source, "joules", _RAPL_PERIOD_S, read, ranges))


def _ina(root: Path) -> Found:
    """The INA3221 sensors of a Jetson: the rail that feeds the board where there is one, else the sum of all rails."""
    rails = {}
    for folder in sorted((root / "sys/class/hwmon").glob("hwmon*")):
        if _text(folder / "name") != "ina3221":
            continue
        for number in (1, 2, 3):  # 4 is a sum of currents, in4 to in7 are drops over shunts
            label = _text(folder / f"in{number}_label")
            if label and label != "NC" and _text(folder / f"in{number}_enable") != "0":
                rails[label] = (folder / f"in{number}_input", folder / f"curr{number}_input")
    chosen = {label: rails[label] for label in _WHOLE_BOARD if label in rails} or rails
    if not chosen:
        return Found(())
    pairs = tuple(chosen.values())

    def read() -> tuple[float, ...]:
        return tuple(int(volts.read_text()) * int(amperes.read_text()) / 1e6 for volts, amperes in pairs)

    return _tried(Gauge("INA3221 " + ", ".join(chosen), "watts", _INA_PERIOD_S, read))


def _nvidia(load: Callable[[], Any]) -> Found:
    """GPUs by the library behind nvidia-smi: a counter of millijoules since Volta, milliwatts before."""
    try:
        library = load()
    except OSError:
        return Found(())
    if library.nvmlInit_v2() != 0:
        return Found((), (("NVML", "NVIDIA's library is here, but does not start: no GPU, or no driver for it"),))
    handles = _handles(library)
    if not handles:
        return Found(())
    source = f"NVML {len(handles)} GPU{'s' if len(handles) > 1 else ''}"
    joules = _tried(Gauge(source, "joules", _NVML_PERIOD_S, _asks(library, _ENERGY_SINCE_VOLTA, handles)))
    if joules.gauges:
        return joules
    return _tried(Gauge(source, "watts", _NVML_PERIOD_S, _asks(library, "nvmlDeviceGetPowerUsage", handles)))


def _nvml() -> Any:
    return ctypes.CDLL("libnvidia-ml.so.1")


def _handles(library: Any) -> list[ctypes.c_void_p]:
    count, handles = ctypes.c_uint(), []
    if library.nvmlDeviceGetCount_v2(ctypes.byref(count)) == 0:
        for index in range(count.value):
            handle = ctypes.c_void_p()
            if library.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(handle)) == 0:
                handles.append(handle)
    return handles


def _asks(library: Any, function: str, handles: Sequence[ctypes.c_void_p]) -> Callable[[], tuple[float, ...]]:
    """Thousandths by a function of NVML (mJ or mW), for every GPU."""
    kind = ctypes.c_ulonglong if function == _ENERGY_SINCE_VOLTA else ctypes.c_uint

    def read() -> tuple[float, ...]:
        values = []
        for handle in handles:
            value = kind()
            status = getattr(library, function)(handle, ctypes.byref(value))
            if status != 0:
                raise OSError(f"{function} gives status {status}")
            values.append(value.value / 1e3)
        return tuple(values)

    return read


def _tried(gauge: Gauge) -> Found:
    try:
        gauge.read()
    except PermissionError as error:
        return Found((), ((gauge.source, f"no permission to read {error.filename}; root may"),))
    except (OSError, ValueError) as error:
        return Found((), ((gauge.source, f"it cannot be read: {error}"),))
    return Found((gauge,))


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
