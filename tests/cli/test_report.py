from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgesmith.cli.app import invoke
from tests.report.sample import report


def run(folder: Path) -> str:
    folder.mkdir()
    (folder / "report.json").write_text(json.dumps(report()))
    return str(folder)


def test_two_runs_are_shown_side_by_side(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    both = [run(tmp_path / name) for name in ("before", "after")]
    assert invoke(["report", *both]) == 0
    shown = capfd.readouterr().out
    assert "p50 ms" in shown and "within noise" in shown and not (tmp_path / "after" / "report.html").exists()
    assert invoke(["report", *both, "--json"]) == 0
    changes = json.loads(capfd.readouterr().out)["changes"]
    assert {change["target"] for change in changes} >= {"ort-fp32", "ort-int8"}


def test_an_interrupted_run_has_no_report_yet(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "export-1234").mkdir()
    assert invoke(["report", str(tmp_path)]) == 3
    assert "interrupted" in capfd.readouterr().err


def test_two_runs_make_a_page_where_one_is_asked_for(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    both, page = [run(tmp_path / name) for name in ("before", "after")], tmp_path / "page.html"
    assert invoke(["report", *both, "--out", str(page)]) == 0
    assert str(page) in capfd.readouterr().out and "Nothing beyond noise" in page.read_text()
