from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgesmith.bench.native import measure_native
from edgesmith.devices.entry import Runner
from edgesmith.devices.null import NullDevice
from edgesmith.devices.processes import Completed
from edgesmith.tensors import TensorSpec
from tests.bench.samples import QUICK, model

PRINTED = Path(__file__).with_name("printed")


def test_ncnn_gets_the_shape_of_every_input_without_its_batch(tmp_path):
    two = (TensorSpec("image", (1, 3, 8, 16)), TensorSpec("context", (1, 4)))
    exported = replace(model(tmp_path / "m"), inputs=two)
    said = Completed(0, "", (PRINTED / "benchncnn.txt").read_text())
    device = NullDevice(tmp_path / "there", {"benchncnn": said})
    device.runners = {"null": Runner("benchncnn", "/opt/benchncnn")}
    record = measure_native(device, tmp_path / "job", {"m": exported}, QUICK, "m", 2, 60.0)
    called = [argv for argv in device.commands if argv[0] == "/opt/benchncnn"]
    assert len(called) == QUICK.blocks and called[0][-1] == "shape=[16,8,3],[4]"
    assert record.measurements[0].latency.blocks_ms == ((7.75,),) * QUICK.blocks
