"""`run` with the files that CI takes: a baseline written and compared, JUnit, the summary, and the page of it."""

from __future__ import annotations

import json
import shutil
import xml.etree.ElementTree as ET
from pathlib import Path

from tests.recipes.tiny import edgesmith


def test_a_baseline_that_a_run_does_not_hold_fails_it_and_stands_on_its_page(finished: Path, tmp_path: Path) -> None:
    run, baseline = tmp_path / "run", tmp_path / "baseline.json"
    shutil.copytree(finished / "run", run)
    words = ("run", finished / "tiny.yaml", "--out", run)
    ended = edgesmith(*words, "--write-baseline", baseline)
    assert ended.returncode == 0 and "already done" in ended.stderr, ended.stderr
    before = json.loads(baseline.read_text())
    before["targets"]["ort-int8"]["size_bytes"] //= 2  # as if the artefact had been half as large
    baseline.write_text(json.dumps(before))

    files = ("--junit", tmp_path / "junit.xml", "--summary", tmp_path / "summary.md")
    ended = edgesmith(*words, "--baseline", baseline, *files)
    assert ended.returncode == 1 and "1.0% larger" in ended.stdout
    report = json.loads((run / "report.json").read_text())
    (worse,) = [v for v in report["verdicts"] if v["check"] == "baseline size" and v["state"] == "fail"]
    assert worse["target"] == "ort-int8" and report["verdict"]["state"] == "fail"
    assert "Baseline baseline.json" in (run / "report.html").read_text()
    failed = [one.get("name") for one in ET.parse(tmp_path / "junit.xml").getroot().iter("testcase") if len(one)]
    assert any("baseline size" in str(name) for name in failed)
    assert "baseline size | fail" in (tmp_path / "summary.md").read_text()
