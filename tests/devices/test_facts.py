from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edgesmith.devices.facts import instruction_set, temperature_c, this_machine


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


def test_nothing_but_the_standard_library_is_loaded():
    code = "import sys, edgesmith.devices.facts; print([m for m in ('numpy', 'pydantic', 'torch') if m in sys.modules])"
    source = Path(__file__).parents[2]
    ended = subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"
