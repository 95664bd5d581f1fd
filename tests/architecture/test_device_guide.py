"""docs/devices.md says what the command line, the device file and the errors really are."""

from __future__ import annotations

import re
import shlex
from dataclasses import fields

import pytest
import typer
from typer.exceptions import TyperException

from edgesmith import errors
from edgesmith.bench.runners import RUNNERS
from edgesmith.cli.app import app
from edgesmith.devices.entry import DeviceEntry, Rules, WorkerEnv
from edgesmith.pipeline.device_file import read_devices
from edgesmith.pipeline.fleet_file import read_fleet
from tests.architecture.source import ROOT

GUIDE = (ROOT / "docs" / "devices.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^ *```{language}\n(.*?)^ *```", GUIDE, re.M | re.S)


COMMANDS = [line.strip() for block in blocks("sh") for line in block.splitlines() if "edgesmith " in line]


def parse(line: str) -> None:
    verb, *words = shlex.split(line, comments=True)[1:]
    command = typer.main.get_command(app).commands[verb]
    command.make_context(verb, words)


@pytest.mark.parametrize("line", COMMANDS)
def test_the_command_line_takes_every_command_of_the_guide(line):
    parse(line)


def test_a_command_that_the_line_does_not_take_would_be_seen():
    with pytest.raises(TyperException):
        parse("edgesmith bench model.onnx --no-such-option 1")


def test_the_device_file_of_the_guide_is_one(tmp_path):
    found = blocks("yaml")
    (tmp_path / "devices.yaml").write_text("".join(text for text in found if not text.startswith("only:")))
    (tmp_path / "fleet.yaml").write_text(next(text for text in found if text.startswith("only:")))
    assert sorted(read_fleet(tmp_path / "fleet.yaml").devices) == ["board", "phone"]
    assert sorted(read_devices(tmp_path / "devices.yaml")) == ["board", "phone", "pi"]


def test_every_key_is_explained():
    keys = {field.name for kind in (DeviceEntry, Rules, WorkerEnv) for field in fields(kind)} - {"name"}
    assert {key for key in keys if not re.search(rf"`(?:{key})\b|\b{key}`", GUIDE)} == set()
    assert all(f"`{name}`" in GUIDE for name in RUNNERS.names())


def test_the_table_of_errors_has_their_exit_codes():
    rows = re.findall(r"\| `(\w+)` \| (\d) \|", GUIDE)
    assert all(getattr(errors, name).exit_code == int(code) for name, code in rows)
    absences = {kind.__name__ for kind in errors.MissingResource.__subclasses__()} | {"MissingResource"}
    assert absences <= {name for name, _ in rows}
