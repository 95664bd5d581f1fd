from __future__ import annotations

from edgesmith.bench.run import measure
from edgesmith.devices.local import LocalDevice
from edgesmith.pipeline.foreign import bench_table
from tests.bench.samples import QUICK, model, rows


def test_the_table_of_what_was_not_timed_says_nothing_of_the_machines_speed(tmp_path):
    device = LocalDevice(runtimes=("ort",))
    record = measure(device, tmp_path / "job", {"m": model(tmp_path / "m")}, rows(), QUICK, "m")
    assert record.measurements[0].state == "not_measured"
    assert not any("speed" in line for line in bench_table([record]).remarks)
