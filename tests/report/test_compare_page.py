"""The page of two runs."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from edgesmith.report.compare_page import render
from tests.report.sample import report
from tests.report.test_html import read


def other() -> dict[str, Any]:
    found = deepcopy(report())
    found["device"]["cpu"] = "Other <CPU>"
    found["provenance"]["versions"]["torch"] = "2.14.0"
    next(row for row in found["rows"] if row["target"] == "ort-int8")["size_bytes"] *= 2
    return found


def test_a_run_beside_itself_has_no_change() -> None:
    text = read(render(report(), report())).text
    assert (
        "Nothing beyond noise" in text
        and "What changed" not in text
        and "differs" not in text.replace("what differs is", "")
    )


def test_it_says_what_changed_and_on_which_machine() -> None:
    text = read(render(report(), other())).text  # and it nests: what is in names is escaped
    assert "What changed" in text and "2.000×" in text and "cannot be compared" in text
    assert "Other <CPU>" in text and "2.14.0" in text and text.count("differs") >= 3
