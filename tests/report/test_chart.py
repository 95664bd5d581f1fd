from __future__ import annotations

import json
import math
import re
from html import unescape
from typing import Any

from edgesmith.report.chart import COLOURS, Chart, figure, line, log_axis


def spec(page: str) -> dict[str, Any]:
    found = re.search(r'data-plot="([^"]*)"', page)
    assert found is not None
    return json.loads(unescape(found.group(1)))  # type: ignore[no-any-return]


def test_texts_reach_the_plot_as_text() -> None:
    page = figure(Chart("a <b>", 'told "so"', [line("<script>x</script>", [1], [2.0], 0)]))
    assert "<script>" not in page and "<b>" not in page and 'told &quot;so&quot;"' in page
    assert spec(page)["data"][0]["name"] == "&lt;script&gt;x&lt;/script&gt;"  # plotly reads its texts as markup


def test_numbers_lose_what_nobody_sees_and_gaps_stay_gaps() -> None:
    data = spec(figure(Chart("c", "t", [line("a", [1, 2, 3, 4], [1 / 3, None, math.nan, math.inf], 0)])))["data"]
    assert data[0]["y"] == [0.333333, None, None, None]


def test_every_ninth_line_is_dashed_otherwise() -> None:
    first, ninth = line("a", [], [], 0), line("b", [], [], COLOURS)
    assert first["line"]["color"] == ninth["line"]["color"] and first["line"]["dash"] != ninth["line"]["dash"]


def test_a_wide_range_is_logarithmic_and_zero_never_is() -> None:
    assert log_axis("ms", [0.1, 50.0])["type"] == "log"
    assert "type" not in log_axis("ms", [1.0, 2.0]) and "type" not in log_axis("ms", [0.0, 50.0])


def test_one_line_needs_no_legend() -> None:
    one, two = [line("a", [1], [1], 0)], [line("a", [1], [1], 0), line("b", [1], [1], 1)]
    assert not spec(figure(Chart("c", "t", one)))["layout"]["showlegend"]
    assert spec(figure(Chart("c", "t", two)))["layout"]["showlegend"]
