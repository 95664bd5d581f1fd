from __future__ import annotations

import pytest

from edgesmith.devices.local import LocalDevice
from edgesmith.errors import MissingResource


def test_without_a_root_a_folder_stays_where_it_is(tmp_path):
    device = LocalDevice()
    (tmp_path / "file").write_text("x")
    device.push(tmp_path, device.place(tmp_path))
    assert device.place(tmp_path) == str(tmp_path.resolve())
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_with_a_root_it_goes_below_it(tmp_path):
    assert LocalDevice(root=tmp_path / "r").place(tmp_path / "job") == str((tmp_path / "r").resolve() / "job")


def test_lines_come_while_the_command_runs(tmp_path):
    device, seen = LocalDevice(), []
    code = "import sys, time, pathlib; print('first', flush=True)\n"
    code += "while not pathlib.Path(sys.argv[1]).exists(): time.sleep(0.02)"

    def on_line(line: str) -> None:
        seen.append(line)
        (tmp_path / "seen").touch()  # the command ends only once its line was handed on

    ended = device.run([device.python, "-c", code, str(tmp_path / "seen")], 30, on_line)
    assert seen == ["first"] and not ended.timed_out


def test_an_error_in_on_line_kills_the_command(tmp_path):
    def on_line(line: str) -> None:
        raise KeyError(line)

    with pytest.raises(KeyError):
        LocalDevice().run(["sh", "-c", "echo x; sleep 60"], 30, on_line)


def test_an_interpreter_that_is_not_there_is_said_to_be_of_the_device_file(tmp_path):
    machine = LocalDevice("bench-box", python=str(tmp_path / "python"))
    with pytest.raises(MissingResource, match=r"run .*python on bench-box: No such file.*as python in the device file"):
        machine.run([machine.python, "-V"], 10)
    with pytest.raises(MissingResource, match="check the command"):
        machine.run([str(tmp_path / "other")], 10)
