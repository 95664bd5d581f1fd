"""`import edgesmith` and `edgesmith --help` load no heavy package; every module imports on its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.architecture import source

HEAVY = [
    "torch",
    "onnx",
    "onnxruntime",
    "openvino",
    "coremltools",
    "torchao",
    "sklearn",
    "lightning_fabric",
    "timm",
    "scipy",
]
_REPORT = "import sys; print('loaded:', *[m for m in {heavy!r} if m in sys.modules])"


def loaded_after(code: str) -> list[str]:
    script = f"{code}\n{_REPORT.format(heavy=HEAVY)}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=source.ROOT, check=True)
    return done.stdout.strip().splitlines()[-1].split()[1:]


def test_import_is_light() -> None:
    assert loaded_after("import edgesmith") == []


@pytest.mark.parametrize("verb", ["", "run", "export", "bench", "doctor"])
def test_help_is_light(verb: str) -> None:
    words = [verb, "--help"] if verb else ["--help"]
    assert loaded_after(f"from edgesmith.cli.app import invoke; assert invoke({words!r}) == 0") == []


def test_the_worker_is_light() -> None:
    assert loaded_after("import edgesmith.bench.worker") == []


def test_the_report_needs_the_vocabulary_alone() -> None:
    assert loaded_after("import edgesmith.report.html, edgesmith.report.table") == []
