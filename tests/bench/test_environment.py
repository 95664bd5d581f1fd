from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from edgesmith.bench.environment import requirements, worker_python
from edgesmith.devices.entry import WorkerEnv
from edgesmith.devices.local import LocalDevice
from edgesmith.devices.ssh import SshDevice
from edgesmith.errors import MissingResource
from tests.devices.sshd import needs_sshd, serving


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


def fake_uv(folder: Path) -> Path:
    """uv's two commands by venv and pip, which write down what they were asked."""
    (folder := folder / "bin").mkdir()
    script = f"""#!/bin/sh
echo "$@" >>"{folder}/asked"
case "$1 $2" in
  "venv --quiet") shift 3; python=$1; shift; exec "$python" -m venv --without-pip "$@" ;;
  "pip install") shift 3; python=$1; shift; exec "{sys.executable}" -m pip --python "$python" install "$@" ;;
esac
"""
    (folder / "uv").write_text(script)
    (folder / "uv").chmod(0o755)
    return folder


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


def test_what_cannot_be_had_is_named_and_nothing_is_left(device, tmp_path, monkeypatch):
    (tmp_path / "wheels").mkdir()
    monkeypatch.setenv("PATH", f"{fake_uv(tmp_path)}:{os.environ['PATH']}")
    device.env = WorkerEnv("uv", ("edgesmith_absent==9",), str(tmp_path / "wheels"))
    with pytest.raises(MissingResource, match="edgesmith_absent"), worker_python(device, ["null"]):
        pass
    assert not list((tmp_path / "there").glob("*"))


@pytest.mark.parametrize("which", ["fake", pytest.param("real", marks=pytest.mark.needs(program="uv"))])
@needs_sshd
def test_uv_makes_the_environment_where_it_is_there_and_it_is_removed(tmp_path, which):
    wheel(tmp_path / "wheels", "edgesmith_probe", "1.5")
    env = WorkerEnv("uv", ("edgesmith_probe==1.5",), str(tmp_path / "wheels"))
    programs = fake_uv(tmp_path) if which == "fake" else Path(shutil.which("uv") or "").parent
    path = f"{programs}:{os.environ['PATH']}"
    with serving(tmp_path / "sshd") as server:
        device = SshDevice(server.entry(tmp_path / "there", env=env, variables={"PATH": path}))
        with worker_python(device, ["null"]) as python:
            code = "import edgesmith_probe as p, edgesmith.bench.worker; print(p.VERSION)"
            ended = device.run([python, "-c", code], 60)
            assert ended.stdout == "1.5\n" and python.startswith(str(tmp_path / "there")), ended.stderr
            made_by = (Path(python).parents[1] / "pyvenv.cfg").read_text()
            assert which == "fake" or "uv = " in made_by
        assert not Path(python).exists() and not list((tmp_path / "there" / "jobs").iterdir())
        device.close()
    if which == "fake":
        lines = (programs / "asked").read_text().splitlines()
        assert lines[1].startswith(f"venv --quiet --python {sys.executable} --system-site-packages")
        assert lines[2].endswith(f"--no-index --find-links {tmp_path / 'wheels'} edgesmith_probe==1.5")


def test_without_uv_the_environment_is_made_by_venv(device, tmp_path, monkeypatch):
    asked = tmp_path / "asked"
    (python := tmp_path / "python").write_text(f'#!/bin/sh\necho "$@" >>"{asked}"\nexit 1\n')
    python.chmod(0o755)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    device.python, device.env = str(python), WorkerEnv("uv", ("edgesmith_probe==1.5",))
    with pytest.raises(MissingResource, match="find_links"), worker_python(device, ["null"]):
        pass
    assert "-m venv --system-site-packages" in asked.read_text()
