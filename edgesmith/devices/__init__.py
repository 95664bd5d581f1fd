"""Devices: transports to the machines that measure (device.py)."""

from edgesmith.plugins import Plugins

DEVICES = Plugins(
    "device",
    {
        "adb": "edgesmith.devices.adb:AdbDevice",
        "local": "edgesmith.devices.local:LocalDevice",
        "qemu": "edgesmith.devices.qemu:QemuDevice",
        "ssh": "edgesmith.devices.ssh:SshDevice",
        "null": "edgesmith.devices.null:NullDevice",
    },
)
