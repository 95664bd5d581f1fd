"""Whether a device may be measured now: its rules on temperature, governor and battery, and time to cool down."""

from __future__ import annotations

import time
from collections.abc import Callable

from edgesmith.devices.device import Device
from edgesmith.devices.entry import Rules
from edgesmith.results import DeviceInfo

_LOOK_EVERY_S = 5.0


def unready(info: DeviceInfo, rules: Rules) -> str:
    """Which rule does not hold, or "". A fact that a rule needs and the device does not show breaks the rule."""
    if rules.governor is not None and info.governor != rules.governor:
        return f"the governor is {info.governor or 'not shown'}, {rules.governor} is asked for"
    least = rules.min_battery_percent
    if least is not None and info.battery_percent is not None and info.battery_percent < least:
        return f"the battery has {info.battery_percent:g} %, {least:g} % is asked for"
    most = rules.max_temperature_c
    if most is not None and info.temperature_c is None:
        return f"the temperature is not shown, at most {most:g} C is asked for"
    if most is not None and info.temperature_c is not None and info.temperature_c > most:
        return f"it has {info.temperature_c:g} C, at most {most:g} C is asked for"
    return ""


def await_ready(device: Device, pause: Callable[[float], None] = time.sleep) -> str:
    """Wait as long as the rules allow for a device to cool down; what still does not hold then, or ""."""
    waited, rules = 0.0, device.rules
    if rules == Rules():
        return ""
    while reason := unready(device.info(), rules):
        if waited >= rules.cool_down_s:
            return reason + (f" after {waited:g} s" if waited else "")
        step = min(_LOOK_EVERY_S, rules.cool_down_s - waited)
        pause(step)
        waited += step
    return ""
