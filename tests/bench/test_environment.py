from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from edgesmith.bench.environment import requirements, worker_python
from edgesmith.devices.entry import WorkerEnv
from edgesmith.devices.local import LocalDevice
from edgesmith.errors import MissingResource


def wheel(folder: Path, name: str, version: str) -> None:
    """A wheel with one module, as a folder of wheels on a device has them."""
    folder.mkdir(exist_ok=True)
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as file:
        file.writestr(f"{name}.py", f"VERSION = {version!r}\n")
        file.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        file.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        file.writestr(f"{info}/RECORD", "")


@pytest.fixture
def device(tmp_path):
    return LocalDevice(root=tmp_path / "there")


def test_what_is_present_suffices(device):
    with worker_python(device, ["ort"]) as python:
        assert python == sys.executable
    device.env = WorkerEnv("venv")
    with worker_python(device, ["null"]) as python:
        assert python == sys.executable


def test_the_entrys_packages_go_before_those_of_the_runtimes():
    assert requirements(["ort", "ort", "null"], WorkerEnv()) == ("numpy", "onnxruntime")
    assert requirements(["ort"], WorkerEnv(packages=("onnxruntime==1.20.1",))) == ("onnxruntime==1.20.1",)


def test_an_environment_is_made_without_a_network_and_removed(device, tmp_path):
    wheel(tmp_path / "wheels", "edgesmith_probe", "1.5")
    device.env = WorkerEnv("venv", ("edgesmith_probe==1.5",), str(tmp_path / "wheels"))
    with worker_python(device, ["null"]) as python:
        code = "import edgesmith_probe; print(edgesmith_probe.VERSION)"
        ended = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
        assert ended.stdout.strip() == "1.5" and python != sys.executable
    assert not Path(python).exists()


def test_what_cannot_be_had_is_named_and_nothing_is_left(device, tmp_path):
    (tmp_path / "wheels").mkdir()
    device.env = WorkerEnv("uv", ("edgesmith_absent==9",), str(tmp_path / "wheels"))
    with pytest.raises(MissingResource), worker_python(device, ["null"]):
        pass
    assert not list((tmp_path / "there").glob("*"))
