from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgesmith.devices.facts import instruction_set, mac_info, own_instruction_set, printed, temperature_c, this_machine

PRINTED = Path(__file__).with_name("printed")


@pytest.mark.parametrize(
    ("machine", "flags", "expected"),
    [
        ("x86_64", "sse2 avx2", "x86"),
        ("x86_64", "avx2 avx512_vnni", "x86-vnni"),
        ("AMD64", "avx_vnni", "x86-vnni"),
        ("x86_64", "", "x86"),
        ("aarch64", "", "arm64"),
        ("arm64", "", "arm64"),
        ("riscv64", "", "riscv64"),
    ],
)
def test_the_instruction_set_by_machine_and_flags(machine, flags, expected):
    assert instruction_set(machine, {"flags": flags}) == expected


def zone(root: Path, number: int, kind: str, text: str) -> None:
    folder = root / f"sys/class/thermal/thermal_zone{number}"
    folder.mkdir(parents=True)
    (folder / "type").write_text(kind + "\n")
    (folder / "temp").write_text(text + "\n")


def test_the_processors_own_zone_wins(tmp_path):
    zone(tmp_path, 0, "acpitz", "90000")
    zone(tmp_path, 1, "x86_pkg_temp", "55500")
    assert temperature_c(tmp_path) == 55.5


def test_else_the_hottest_zone_and_unreadable_ones_do_not_count(tmp_path):
    zone(tmp_path, 0, "acpitz", "41000")
    zone(tmp_path, 1, "battery", "43000")
    zone(tmp_path, 2, "broken", "n/a")
    assert temperature_c(tmp_path) == 43.0


def test_without_zones_it_is_not_known(tmp_path):
    assert temperature_c(tmp_path) is None


def test_this_machine_is_described():
    info = this_machine("here")
    assert info.name == "here" and info.cpu and info.os and info.cores >= 1
    assert info.memory_bytes > 1 << 28 and info.python == sys.version.split()[0]
    assert info.instruction_set == own_instruction_set()


def program(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


@pytest.mark.needs(host="linux")
def test_a_jetson_and_a_pi_are_asked_by_their_own_programs(tmp_path, monkeypatch):
    # tegrastats never ends by itself.
    program(
        tmp_path, "tegrastats", f'echo "$@" >"{tmp_path}/asked"; cat "{PRINTED}/tegrastats-orin.txt"; exec sleep 60'
    )
    program(tmp_path, "vcgencmd", "echo throttled=0x4")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    info = this_machine()
    assert (info.clock_mhz, info.accelerator_clock_mhz, info.throttling) == (1510, 611, "throttled")
    assert info.temperature_c == (temperature_c() or 48.281)
    assert (tmp_path / "asked").read_text().startswith("--interval")


def test_a_mac_is_described_by_what_its_programs_print():
    files = {
        "sysctl": "sysctl-macos",
        "displays": "displays-macos",
        "battery": "battery-macos",
        "therm": "therm-macos-arm",
    }
    info = mac_info("mini", {fact: (PRINTED / f"{file}.txt").read_text() for fact, file in files.items()})
    assert (info.name, info.os, info.cpu, info.cores) == ("mini", "macOS 14.5", "Apple M1", 8)
    assert (info.memory_bytes, info.accelerator, info.battery_percent) == (16 << 30, "Apple M1", 97)
    assert (info.throttling, info.clock_mhz) == ("none", None)


def test_a_mac_that_refuses_to_answer_is_still_a_machine():
    info = mac_info("mini", {})
    assert info.cores >= 1 and info.memory_bytes > 0 and info.throttling is None and info.accelerator is None


def test_a_program_that_is_not_there_or_fails_says_nothing(tmp_path, monkeypatch):
    program(tmp_path, "fails", "exit 3")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert printed(["fails"]) == printed(["no-such-program"]) == ""


def test_nothing_but_the_standard_library_is_loaded():
    code = "import sys, edgesmith.devices.facts; print([m for m in ('numpy', 'pydantic', 'torch') if m in sys.modules])"
    source = Path(__file__).parents[2]
    ended = subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"
