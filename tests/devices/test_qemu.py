"""The emulated arm64 machine; what needs one asks for EDGESMITH_ARM64_ROOT (docs/devices.md says how to make it)."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from edgesmith.bench.run import answer_all, measure
from edgesmith.devices.entry import DeviceEntry, open_device
from edgesmith.devices.qemu import QemuDevice
from edgesmith.errors import MissingResource, UsageError
from tests.bench.samples import QUICK, model, rows, sums
from tests.runtimes import samples

ARM64 = b"\x7fELF\x02\x01\x01" + bytes(11) + (183).to_bytes(2, "little")
AMD64 = ARM64[:18] + (62).to_bytes(2, "little")
needs_arm64 = pytest.mark.needs(program="qemu-aarch64-static", arm64_root=True)


@pytest.fixture
def emulator(tmp_path, monkeypatch):
    """A program in qemu's place that writes down how it was called and hands over to this interpreter."""
    (folder := tmp_path / "bin").mkdir()
    program = folder / "qemu-aarch64-static"
    script = f'printf "%s\\n" "$@" >>"{tmp_path}/asked"\n'
    script += '[ "$1" = --version ] && { echo "qemu-aarch64 version 7.2.22 (Debian)"; exit; }\n'
    program.write_text(f'#!/bin/sh\n{script}shift 5\nexec "{sys.executable}" "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return tmp_path / "asked"


@pytest.fixture
def root(tmp_path) -> Path:
    """What is looked at of an arm64 system before it is used."""
    (there := tmp_path / "a root" / "usr" / "bin").mkdir(parents=True)
    (there / "python3").write_bytes(ARM64)
    return tmp_path / "a root"


def test_an_interpreter_is_started_through_the_emulator(emulator, root):
    device = open_device(DeviceEntry("pi", "qemu", root=str(root)))
    ended = device.run([device.python, "-c", "print(1 + 1)"], 60)
    assert (ended.returncode, ended.stdout) == (0, "2\n")
    called = emulator.read_text().splitlines()
    assert called == ["-L", str(root), "-0", device.python, str(root / "usr/bin/python3"), "-c", "print(1 + 1)"]


def test_only_the_workers_sources_are_on_its_path(emulator, root, monkeypatch):
    monkeypatch.setenv("LD_LIBRARY_PATH", "/ours")
    device = QemuDevice(DeviceEntry("pi", "qemu", root=str(root), variables={"MORE": "1"}))
    code = "import os; print(os.environ['PYTHONPATH'], os.environ.get('LD_LIBRARY_PATH'), os.environ['MORE'])"
    path, libraries, more = device.run([device.python, "-c", code], 60).stdout.split()
    assert (Path(path).parent, libraries, more) == (Path(device.python).parent, "None", "1")
    assert (Path(path) / "edgesmith/bench/worker.py").exists() and not (Path(path) / "edgesmith/cli").exists()


def test_what_belongs_to_this_machine_is_not_said_of_the_emulated_one(emulator, root):
    info = QemuDevice(DeviceEntry("pi", "qemu", root=str(root))).info()
    assert info.cpu == "arm64 emulated by QEMU 7.2.22"
    assert (info.clock_mhz, info.temperature_c, info.governor) == (None, None, None)


def test_nothing_is_left_of_it(emulator, root):
    device = QemuDevice(DeviceEntry("pi", "qemu", root=str(root)))
    folder = Path(device.python).parent
    assert folder.exists()
    del device
    assert not folder.exists()


def test_it_is_never_timed(emulator, root, tmp_path):
    device = QemuDevice(DeviceEntry("pi", "qemu", root=str(root)))
    (row,) = measure(device, tmp_path / "job", {"m": model(tmp_path / "m")}, rows(), QUICK, "m").measurements
    assert row.state == "not_measured" and "emulates this processor" in row.reason and row.latency is None


def test_without_an_emulator_it_says_what_to_install(root, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MissingResource, match=r"qemu-aarch64-static nor qemu-aarch64 .* apt-get install"):
        QemuDevice(DeviceEntry("pi", "qemu", root=str(root)))


@pytest.mark.parametrize(
    ("head", "python", "said"),
    [
        (ARM64, "/usr/bin/python3.10", "no /usr/bin/python3.10 there: No such file"),
        (AMD64, None, "/usr/bin/python3 there is no arm64 program"),
        (b"#!/bin/sh\nexec true\n", None, "/usr/bin/python3 there is no arm64 program"),
        (b"", None, "/usr/bin/python3 there is no arm64 program"),
    ],
)
def test_a_wrong_system_is_named(emulator, root, head, python, said):
    (root / "usr/bin/python3").write_bytes(head)
    with pytest.raises(MissingResource, match=said):
        QemuDevice(DeviceEntry("pi", "qemu", root=str(root), python=python))


def test_a_folder_that_is_not_there_and_none_at_all(emulator, tmp_path):
    with pytest.raises(MissingResource, match="no such folder"):
        QemuDevice(DeviceEntry("pi", "qemu", root=str(tmp_path / "absent")))
    with pytest.raises(UsageError, match="it has no root"):
        QemuDevice(DeviceEntry("pi", "qemu"))


@needs_arm64
def test_the_worker_and_its_children_run_as_arm64_programs(tmp_path):
    device = QemuDevice(DeviceEntry("pi", "qemu", root=os.environ["EDGESMITH_ARM64_ROOT"]))
    info = device.info()
    assert info.instruction_set == "arm64" and info.cpu.startswith("arm64 emulated by QEMU")
    found = answer_all(device, tmp_path / "job", {"m": model(tmp_path / "m")}, rows(), images=False)
    assert found.rows["m"].state == "measured", found.rows["m"].reason
    assert (found.arrays["m"]["y"] == sums(rows())).all()


@needs_arm64
def test_an_onnx_file_answers_there_what_its_graph_says(tmp_path):
    draw = np.random.default_rng(0)
    feed = {spec.name: draw.standard_normal((4, *spec.shape[1:])).astype(np.float32) for spec in samples.INPUTS}
    device = QemuDevice(DeviceEntry("pi", "qemu", root=os.environ["EDGESMITH_ARM64_ROOT"]))
    exported = samples.make("ort", tmp_path / "m").exported
    found = answer_all(device, tmp_path / "job", {"m": exported}, feed, images=False)
    assert found.rows["m"].state == "measured", found.rows["m"].reason
    for name, array in found.arrays["m"].items():
        np.testing.assert_allclose(array, samples.expected(feed)[name], rtol=1e-5, atol=1e-6)
