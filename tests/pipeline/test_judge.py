"""Where answers and times come from: the device that was named, and for the original this machine where need be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgesmith.devices.local import LocalDevice
from edgesmith.devices.ssh import SshDevice
from edgesmith.errors import DeviceBusy
from edgesmith.pipeline.judge import REFERENCE, judge_bundle, load_outputs, run_outputs, save_outputs
from edgesmith.pipeline.produce import Bundle
from edgesmith.pipeline.sources import Inputs
from tests.bench.samples import model, rows, sums
from tests.devices.sshd import asked, logged_python, needs_sshd, serving

INPUTS = Inputs(rows(8), False, "digest")


def models(folder: Path) -> dict[str, object]:
    return {REFERENCE: model(folder / "original"), "null-int8": model(folder / "other")}


def state(table, target: str, check: str) -> list[str]:
    found = table.judgement.verdicts
    return [verdict.state for verdict in found if verdict.target == target and verdict.check == check]


@needs_sshd
def test_answers_and_times_are_those_of_the_device(tmp_path):
    bundle = Bundle(tmp_path, models(tmp_path), {})
    with serving(tmp_path / "sshd") as server:
        device = SshDevice(server.entry(tmp_path / "there", python=str(logged_python(tmp_path))))
        limits, jobs = {"cosine": 0.9}, tmp_path / "jobs"
        table = judge_bundle(bundle, INPUTS, limits, ("null-int8",), jobs, True, 1, lambda text: None, device=device)
        with SshDevice(server.entry(tmp_path / "there")).reserve(), pytest.raises(DeviceBusy, match="measures there"):
            judge_bundle(bundle, INPUTS, limits, (), jobs, False, 1, lambda text: None, device=device)
        device.close()
    assert asked(tmp_path).count("edgesmith.bench.worker") == 2  # outputs, then times
    assert table.report["device"]["name"] == "loopback" and "original" not in table.report["provenance"]
    assert state(table, "null-int8", "cosine") == ["pass"]


def test_an_original_that_may_not_run_there_runs_here_and_that_is_said(tmp_path):
    said: list[str] = []
    phone = LocalDevice("phone", runtimes=("ort",))
    outputs = run_outputs(models(tmp_path), INPUTS, tmp_path / "job", phone, said.append)
    assert outputs.original.startswith("the original ran on this machine and not on phone") and outputs.original in said
    (answer,) = outputs.arrays[REFERENCE].values()
    np.testing.assert_array_equal(answer, sums(INPUTS.arrays))
    row = outputs.unrun["null-int8"]
    assert row.state == "not_measured" and "lets ort run on phone, and not null" in row.reason
    save_outputs(tmp_path, outputs)
    assert load_outputs(tmp_path).original == outputs.original
