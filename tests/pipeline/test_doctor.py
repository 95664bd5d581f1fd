from __future__ import annotations

import types

import pytest

from edgesmith.pipeline import doctor
from edgesmith.runtimes import cuda
from tests.runtimes.gpu import Driver


@pytest.fixture
def rtx(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which every package is installed."""
    monkeypatch.setattr(doctor, "is_installed", lambda module: True)
    versions = types.SimpleNamespace(get=lambda name: types.SimpleNamespace(version=lambda: "1"))
    monkeypatch.setattr(doctor, "RUNTIMES", versions)


def rows() -> dict[str, dict[str, str]]:
    return {row["target"]: row for row in doctor.examine(lambda text: None)["targets"]}


def test_rtx_engines_do_not_run_on_sm90_and_tensorrt_does(rtx: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "load", lambda: Driver(major=9, minor=0))
    found = rows()
    assert found["tensorrt-rtx-fp16"]["build"] == "yes" and found["tensorrt-rtx-fp16"]["run"] == "no"
    assert "here is 9.0: use tensorrt-*" in found["tensorrt-rtx-fp16"]["reason"]
    assert found["tensorrt-fp16"]["run"] == found["ort-cuda-fp32"]["run"] == "yes"
    assert any("none for SM90" in line for line in doctor.examine(lambda text: None)["warnings"])


def test_both_run_on_a_gpu_that_both_know(rtx: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "load", lambda: Driver(major=8, minor=9))
    assert rows()["tensorrt-rtx-int8"]["run"] == rows()["tensorrt-int8"]["run"] == "yes"


def test_without_a_gpu_the_reason_is_the_gpu(rtx: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "load", lambda: Driver(gpus=0))
    found = rows()
    assert {found[name]["run"] for name in ("tensorrt-fp32", "torch-cuda-fp16", "ort-cuda-fp16")} == {"no"}
    assert "NVIDIA GPU" in found["torch-cuda-fp16"]["reason"]
