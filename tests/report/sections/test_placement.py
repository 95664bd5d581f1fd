"""The bars and the table of where the work is done."""

from __future__ import annotations

import html
import json
import re

from edgesmith.report.html import render
from edgesmith.report.sections.placement import section
from edgesmith.results import PlacedLayer, Placement
from tests.report.sample import report

LAYERS = (PlacedLayer("a.<0>", "conv", "int8", "cpu", 15_000_000), PlacedLayer("b", "conv", "fp32", "cpu", 5_000_000))
PLACED = Placement(
    "ort-int8", {"int8": 0.75, "fp32": 0.25}, {"cpu": 1.0}, "its <profile>", "int8", "cpu", LAYERS, 2, 3, 4096
)


def test_every_share_is_drawn_and_told() -> None:
    part = section(report(placements={"ort-int8": PLACED}))
    assert part is not None
    page = part.body
    assert "int8 75.0 %, fp32 25.0 %" in page and "cpu 100.0 %" in page and "3, 4.1 KB" in page
    assert "its &lt;profile&gt;" in page and "<profile>" not in page
    by_type, by_unit = (json.loads(html.unescape(text)) for text in re.findall(r'data-plot="([^"]*)"', page))
    assert {trace["name"]: trace["x"] for trace in by_type["data"]} == {"int8": [0.75], "fp32": [0.25]}
    assert [trace["y"] for trace in by_unit["data"]] == [["ort-int8"]]


def test_the_rate_is_the_work_over_the_median() -> None:
    found = report(placements={"ort-int8": PLACED})
    next(row for row in found["rows"] if row["target"] == "ort-int8")["p50"] = {"value": 2.0, "low": 1.9, "high": 2.1}
    part = section(found)
    assert part is not None and ">10<" in part.body  # 20 million in 2 ms are 10 GMAC/s


def test_no_section_where_no_runtime_told() -> None:
    assert section(report()) is None and 'id="placement"' not in render(report())
    assert 'id="placement"' in render(report(placements={"ort-int8": PLACED}))
