"""Fleet files: what they mean, and every mistake by its key."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgesmith.errors import EdgesmithError, MissingResource, UsageError
from edgesmith.pipeline.fleet_file import read_fleet

DEVICES = "devices:\n  a: {transport: 'null'}\n  b: {transport: 'null'}\n"


def written(folder: Path, text: str) -> Path:
    (folder / "devices.yaml").write_text(DEVICES)
    (folder / "fleet.yaml").write_text(text)
    return folder / "fleet.yaml"


def test_all_devices_of_the_file_or_some(tmp_path: Path) -> None:
    assert list(read_fleet(written(tmp_path, "tries: 2\n")).devices) == ["a", "b"]
    fleet = read_fleet(written(tmp_path, "only: [b, local]\nbusy_s: 5\ncluster: auto\n"))
    assert list(fleet.devices) == ["b", "local"]
    assert (fleet.limits.busy_s, fleet.limits.tries, fleet.cluster) == (5.0, 3, "auto")


def test_this_machine_alone_needs_no_device_file(tmp_path: Path) -> None:
    (tmp_path / "fleet.yaml").write_text("only: [local]\n")
    assert list(read_fleet(tmp_path / "fleet.yaml").devices) == ["local"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("only: [nobody]", ["nobody"]),
        ("only: [a]\ntrys: 3\ntries: 0\nbusy_s: soon", ["trys: no such key", "tries:", "busy_s:"]),
        ("[a]", ["no mapping"]),
        ("only: [", ["not YAML"]),
        ("devices: none.yaml", ["none.yaml"]),
        ("only: [a]\ndevices: none.yaml", ["none.yaml"]),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, words: list[str]) -> None:
    with pytest.raises(EdgesmithError) as error:
        read_fleet(written(tmp_path, text))
    assert isinstance(error.value, (UsageError, MissingResource))
    assert all(word in str(error.value) for word in words)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MissingResource, match=r"fleet\.yaml"):
        read_fleet(tmp_path / "fleet.yaml")
