from __future__ import annotations

from edgesmith.report import table
from edgesmith.results import BenchRecord
from tests.report.sample import DEVICE, measured, report


def test_lines_are_aligned_and_complete():
    found = table.lines(report())
    assert found[0] == "Pass: 2 of 2 required targets hold every limit."
    header, rule, *rows = found[2:9]
    assert header.split()[:2] == ["target", "verdict"]
    assert len({len(line) for line in (header, rule, rows[0])}) == 1
    int8 = next(line for line in rows if line.startswith("ort-int8"))
    for text in ("pass", "96.0 %", "+1.00", "2.02", "5.", "1.20 MB"):
        assert text in int8
    assert any(line.startswith("On Some CPU, 2 cores") for line in found)


def test_a_decided_fail_stands_in_the_first_line():
    assert "found 0.01 (0.002 to 0.02)." in table.lines(report("fail"))[0]


def test_markdown_has_one_row_a_target_and_escapes():
    rows = (measured("torch-fp32", 10.0), measured("a|<b>", 0.1))
    text = table.markdown(report(required=["a|<b>"], bench=BenchRecord(DEVICE, rows, "torch-fp32", (1.0, 1.0))))
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert lines[1].startswith("| --- | --- | --- | ---: |")
    assert all(line.replace("\\|", "").count("|") == len(table.HEADER) + 1 for line in lines)
    assert any(line.startswith("| a\\|&lt;b> † |") for line in lines)
    assert "† p50 under 0.2 ms" in text


def test_only_checks_with_intervals_count_as_questions():
    asked = ("runs", "placement", "placement on int8", "cosine", "p50_ms")
    verdicts = [{"check": check, "state": "pass"} for check in asked]
    note = next(line for line in table.notes({**report(), "verdicts": verdicts}) if "questions" in line)
    assert note.startswith("2 questions") and "97.5 %" in note


def test_it_says_where_the_original_ran_if_that_is_another_machine():
    elsewhere = "the original ran on this machine and not on pi: no torch there"
    assert "The original ran on this machine and not on pi: no torch there." in table.lines(
        report(provenance={"original": elsewhere})
    )
    assert not any("original ran" in line for line in table.lines(report()))
