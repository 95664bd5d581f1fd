"""The table of what corrections are worth."""

from __future__ import annotations

from edgesmith.report.html import render
from edgesmith.report.sections.corrections import section
from tests.report.sample import report

GAIN = {"value": 1.234, "low": 0.9, "high": 1.5}
ROWS = [
    {"correction": "equalise", "on": True, "cosine": 0.98765, "sqnr_db": 20.5, "gain_db": GAIN, "note": ""},
    {"correction": "join", "on": False, "cosine": None, "sqnr_db": 21.0, "gain_db": GAIN, "note": "a <b> c"},
]
FOUND = {"target": "ort-int8", "samples": 32, "judged_on": "held-out samples", "cosine": 0.999, "sqnr_db": 21.734}


def test_a_row_a_correction_with_its_interval() -> None:
    part = section({"corrections": [{**FOUND, "rows": ROWS}]})
    assert part is not None
    page = part.body
    assert "+1.23" in page and "+0.90" in page and "+1.50" in page and "0.98765" in page and "21.73" in page
    assert "a &lt;b&gt; c" in page and "<b>" not in page.replace("<b></b>", "")
    assert "32 held-out samples" in page


def test_the_page_has_it_where_there_is_one() -> None:
    assert "Corrections of int8 plans" not in render(report())
    assert "Corrections of int8 plans" in render({**report(), "corrections": [{**FOUND, "rows": ROWS}]})
