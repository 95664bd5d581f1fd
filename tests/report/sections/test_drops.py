"""The table of layers in float for the accuracy."""

from __future__ import annotations

from typing import Any

from edgesmith.report.html import render
from edgesmith.report.sections.drops import section
from tests.report.sample import report

DROP = {"value": 0.0123, "low": 0.001, "high": 0.02, "confidence": 0.99}


def raised(**changes: Any) -> dict[str, Any]:
    row = {"layer": "stage.<0>", "fate": "needed", "noise": 0.25, "cost": 1234.0, "unit": "ms", "drop": DROP}
    return {**row, **changes}


def test_a_row_a_layer_with_its_fate_its_cost_and_its_drop() -> None:
    rows = [raised(), raised(layer="head", fate="given back", drop=None, unit="multiply-accumulates")]
    part = section({"drops": [{"target": "ort-int8", "raised": rows}]})
    assert part is not None
    page = part.body
    assert "stage.&lt;0&gt;" in page and "float, needed" in page and "0.25" in page and " ms" in page
    assert "+1.23" in page and "2.00" in page  # the drop in points and the end of its interval
    assert "int8, given back" in page and "multiply-accumulates" in page and "–" in page


def test_the_page_has_it_where_layers_were_in_float() -> None:
    title = "Layers in float for the accuracy"
    assert title not in render(report()) and section({}) is None
    assert title not in render({**report(), "drops": [{"target": "ort-int8", "raised": []}]})
    assert title in render({**report(), "drops": [{"target": "ort-int8", "raised": [raised()]}]})
