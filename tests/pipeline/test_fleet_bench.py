"""A fleet from the command line: every file on every device, results kept, jobs that cannot be done told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgesmith.cli.app import invoke
from tests.kits.artifacts import artifact

pytestmark = pytest.mark.needs("ray")
DEVICES = """
devices:
  good: {transport: 'null'}
  far: {transport: ssh, address: 127.0.0.1, port: 1, connect_timeout_s: 2}
"""
QUICK = ["--inputs", "random:2", "--blocks", "2", "--block-size", "2", "--warmup", "1"]


@pytest.fixture
def fleet(tmp_path: Path) -> list[str]:
    (tmp_path / "devices.yaml").write_text(DEVICES)
    (tmp_path / "fleet.yaml").write_text("tries: 1\n")
    files = [str(artifact(tmp_path / runtime, runtime).root) for runtime in ("ort", "openvino")]
    return ["bench", *files, *QUICK, "--fleet", str(tmp_path / "fleet.yaml"), "--out", str(tmp_path / "out")]


def test_what_can_be_measured_is_kept_and_the_rest_is_told(
    fleet: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert invoke([*fleet, "--json"]) == 3
    found = json.loads(capfd.readouterr().out)
    assert [(one["device"], one["file"]) for one in found["kept"]] == [("good", "ort-fp32"), ("good", "openvino-fp32")]
    assert all(m["state"] == "measured" for one in found["kept"] for m in one["measured"][0]["measurements"])
    assert set(found["given_up"]) == {"ort-fp32 on far", "openvino-fp32 on far"}
    assert len(list((tmp_path / "out").glob("good--*.json"))) == 2

    (tmp_path / "fleet.yaml").write_text("only: [good]\n")
    assert invoke(fleet) == 0
    out, err = capfd.readouterr()
    assert err.count("already measured") == 2 and "2 results" in out
    damaged = next((tmp_path / "out").glob("good--ort*.json"))
    damaged.write_text("{")
    assert invoke([*fleet, "--reference", "ort-fp32", "--json"]) == 0  # another job for one file, a damaged result
    found = json.loads(capfd.readouterr().out)
    assert [len(one["measured"][0]["measurements"]) for one in found["kept"]] == [1, 2]


def test_options_that_contradict_are_refused(fleet: list[str], tmp_path: Path) -> None:
    assert invoke([*fleet, "--device", "good"]) == 2
    assert invoke([*fleet[:-4], "--out", str(tmp_path / "out")]) == 2
    assert not (tmp_path / "out").exists()
