from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgesmith.cli.app import invoke
from edgesmith.devices import DEVICES
from edgesmith.devices.entry import DeviceEntry, Rules, open_device
from edgesmith.devices.local import LocalDevice
from edgesmith.errors import MissingResource, UsageError
from edgesmith.pipeline.device_file import device_spec, find_device, load_facts, read_devices
from edgesmith.pipeline.options import call, spec_problems
from tests.bench.samples import model
from tests.devices.sshd import asked, logged_python, needs_sshd, serving

GOOD = """
devices:
  here: {transport: local, rules: {max_temperature_c: 70, cool_down_s: 60}}
  pi5:
    transport: ssh
    address: pi5.local
    user: pi
    python: ~/venv/bin/python
    runtimes: [ort, openvino]
    host_key: SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA
    env: {kind: venv, find_links: /srv/wheels, keep: true}
"""
BAD = """
devices:
  pi5: {transport: ssh, user: pi, port: 70000, password: x, colour: red, host_key: abc, env: {kind: conda}}
  bad name: {transport: carrier}
  phone: {transport: local, jump: a@b, runners: {ort: {use: nope, program: /x}}, env: {api_token: y}}
  pi: {transport: qemu, address: x, env: {kind: uv}, rules: {cool_down_s: 1}}
  flat: 3
more: 1
"""


def test_a_good_file_becomes_entries(tmp_path):
    (tmp_path / "d.yaml").write_text(GOOD)
    found = read_devices(tmp_path / "d.yaml")
    assert found["here"].rules == Rules(max_temperature_c=70.0, cool_down_s=60.0)
    assert found["pi5"].env.kind == "venv" and found["pi5"].runtimes == ("ort", "openvino")
    assert found["pi5"].host_key.endswith("AAA") and found["pi5"].port is None


def test_every_mistake_is_told_at_once_with_its_place(tmp_path):
    (tmp_path / "d.yaml").write_text(BAD)
    with pytest.raises(UsageError) as caught:
        read_devices(tmp_path / "d.yaml")
    places = {line.split(":")[0].strip() for line in caught.value.found.splitlines()[1:]}
    assert places == {
        "more", "devices.pi5.password", "devices.pi5.colour", "devices.pi5.host_key", "devices.pi5.env.kind",
        "devices.pi5.port", "devices.pi5.address", "devices.bad name", "devices.bad name.transport",
        "devices.phone.jump", "devices.phone.runners.ort.use", "devices.phone.env.api_token", "devices.flat",
        "devices.pi.root", "devices.pi.env", "devices.pi.address", "devices.pi.rules",
    }  # fmt: skip
    assert "holds no secrets" in caught.value.found and caught.value.exit_code == 2


@pytest.mark.parametrize("text", ["", "devices: []", "a: [", "- 1", "devices: {x: !!python/object:os.system {}}"])
def test_what_is_no_device_file_is_refused(tmp_path, text):
    (tmp_path / "d.yaml").write_text(text)
    with pytest.raises(UsageError):
        read_devices(tmp_path / "d.yaml")


def test_names_are_looked_up(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_device("local", None) == DeviceEntry("local", "local")
    with pytest.raises(UsageError, match="--devices"):
        find_device("pi5", None)
    (tmp_path / "devices.yaml").write_text(GOOD)
    assert find_device("pi5", None).address == "pi5.local"
    with pytest.raises(UsageError, match="here, pi5"):
        find_device("mars", None)
    with pytest.raises(MissingResource):
        find_device("pi5", tmp_path / "none.yaml")


def test_an_entry_is_a_recipes_device_too(tmp_path):
    (tmp_path / "d.yaml").write_text(GOOD)
    entries = read_devices(tmp_path / "d.yaml")
    for name, entry in entries.items():
        spec = json.loads(json.dumps(device_spec(entry)))
        assert spec_problems("device", spec, "bench.device") == []
        assert call("device", spec).name == name
    assert open_device(entries["here"]).rules.max_temperature_c == 70
    assert isinstance(open_device(DeviceEntry("local")), LocalDevice) and "ssh" in DEVICES.names()


def test_the_runtimes_of_a_row_are_known_ones(tmp_path):
    (tmp_path / "d.yaml").write_text("devices: {pi: {runtimes: [ort, warp]}}")
    with pytest.raises(UsageError, match=r"devices\.pi\.runtimes: no such one as 'warp'"):
        read_devices(tmp_path / "d.yaml")


def listed(server, folder: Path, **changes) -> list[str]:
    """A device file that names the server "far", as words of the command line."""
    entry = server.entry(folder / "there")
    names = ("transport", "address", "port", "user", "python", "root", "known_hosts", "identity")
    row = {name: getattr(entry, name) for name in names}
    (folder / "devices.yaml").write_text(json.dumps({"devices": {"far": {**row, **changes}}}))
    return ["--devices", str(folder / "devices.yaml"), "--json"]


@pytest.mark.slow
@needs_sshd
def test_a_recipe_is_judged_and_timed_behind_ssh(tmp_path, capfd):
    recipe = {
        "name": "far",
        "data": {"use": "digits", "holdout": 0.05},
        "model": {"use": "resnet", "size": 32, "width": 8, "embedding": 16, "classes": 10},
        "targets": {"required": ["ort-fp32"]},
        "bench": {"blocks": 3, "block_size": 2, "warmup": 1},
    }
    (tmp_path / "far.yaml").write_text(json.dumps(recipe))
    with serving(tmp_path / "sshd") as server:
        where = listed(server, tmp_path, python=str(logged_python(tmp_path)), runtimes=["ort"])
        invoke(["run", str(tmp_path / "far.yaml"), "--out", str(tmp_path / "out"), "--device", "far", *where])
    report = json.loads(capfd.readouterr().out)
    assert asked(tmp_path).count("edgesmith.bench.worker") == 2  # outputs, then times
    assert report["device"]["name"] == "far" and "and not torch" in report["provenance"]["original"]


@needs_sshd
def test_the_command_line_measures_behind_ssh(tmp_path, capfd):
    with serving(tmp_path / "sshd") as server:
        where = listed(server, tmp_path)
        model(tmp_path / "m")
        assert invoke(["devices", "probe", "far", *where]) == 0
        assert json.loads(capfd.readouterr().out)["facts"]["name"] == "far"
        assert load_facts(tmp_path / "devices.yaml")["far"].cores >= 1
        assert invoke(["devices", *where]) == 0
        assert [row["name"] for row in json.loads(capfd.readouterr().out)["devices"]] == ["local", "far"]
        words = ["bench", str(tmp_path / "m"), "--blocks", "2", "--block-size", "2", "--warmup", "1"]
        assert invoke([*words, "--device", "far", *where]) == 0
        record = json.loads(capfd.readouterr().out)
        assert record["device"]["name"] == "far" and record["measurements"][0]["state"] == "measured"
    assert invoke([*words, "--device", "far", *where]) == 3  # nobody listens there any more
