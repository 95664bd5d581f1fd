"""The table of verdicts, and what is said before it."""

from __future__ import annotations

from edgesmith.report.sections.verdicts import section
from tests.report.sample import report


def test_the_number_of_questions_and_the_baseline_are_said_before_the_table() -> None:
    found = {**report(), "baseline": ["Baseline b<1>.json: 3 of 4 numbers are no worse."]}
    part = section(found)
    assert part is not None
    before = part.body.split("<table>")[0]
    assert "2 questions in one run: a fail needs an interval of 97.5 % (Bonferroni)." in before
    assert "b&lt;1&gt;.json: 3 of 4" in before


def test_one_question_needs_no_correction() -> None:
    found = report()
    found["verdicts"] = found["verdicts"][:1]
    part = section(found)
    assert part is not None and "Bonferroni" not in part.body
