from __future__ import annotations

import pytest

from edgesmith.devices.device import Completed
from edgesmith.devices.null import NULL_INFO, NullDevice
from edgesmith.errors import MissingResource


def test_it_answers_as_told_and_remembers_commands():
    told = Completed(7, "out", "err")
    device = NullDevice(answers={"tool": told})
    assert device.run(["/usr/bin/tool", "-x"], 1) == told
    assert device.commands == [("/usr/bin/tool", "-x")] and device.info() == NULL_INFO


def test_out_of_reach_everything_is_a_missing_resource(tmp_path):
    device = NullDevice(tmp_path, broken=True)
    (tmp_path / "f").touch()
    for act in (
        device.info,
        lambda: device.push(tmp_path / "f", "x"),
        lambda: device.pull("x", tmp_path / "y"),
        lambda: device.remove("x"),
        lambda: device.run(["true"], 1),
    ):
        with pytest.raises(MissingResource, match="out of reach"):
            act()
