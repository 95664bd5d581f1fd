from __future__ import annotations

from edgesmith.report.sections.targets import section
from tests.report.sample import report


def test_the_precision_is_what_was_executed() -> None:
    shares = {"int8": 0.9, "fp32": 0.1}
    found = {**report(), "placement": {"ort-int8": {"share_by_precision": shares}}}
    assert "int8<small" in section(found).body and "90.0 % of the work, fp32 10.0 %" in section(found).body


def test_a_gap_says_why_and_an_absent_target_gets_its_reason_over_the_whole_row() -> None:
    body = section(report()).body
    assert "no operator for aten.foo" in body and "colspan" in body


def test_another_scenario_is_said_with_its_rate() -> None:
    assert "scenario" not in section(report()).body
    found = report()
    found["rows"][2] |= {"scenario": "offline", "rows_per_s": 512.0}
    assert f"scenario offline. Rows a second: {found['rows'][2]['target']} 512." in section(found).body
