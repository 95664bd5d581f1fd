import re
from xml.etree import ElementTree

import pytest

from edgesmith.report import plots


def parse(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)


def points(*places: tuple[float, float]) -> list[plots.Point]:
    return [
        plots.Point(f"target-{i}", i, (x, x * 0.9, x * 1.1), (y, y - 0.01, y + 0.01)) for i, (x, y) in enumerate(places)
    ]


def circles(svg: str) -> list[tuple[float, float]]:
    return [(float(c.attrib["cx"]), float(c.attrib["cy"])) for c in parse(svg).iter("circle")]


def test_scatter_places_faster_left_and_better_above():
    fast_good, slow_bad = circles(plots.scatter(points((1.0, 0.95), (4.0, 0.85)), "Top-1"))
    assert fast_good[0] < slow_bad[0] and fast_good[1] < slow_bad[1]


@pytest.mark.parametrize("places", [[(1.0, 0.5)], [(1.0, 1.0), (1.0, 1.0)], [(0.0, 0.0)], [(0.01, 0.9), (90.0, 0.9)]])
def test_scatter_of_one_of_ties_of_zero_and_of_a_wide_range(places: list[tuple[float, float]]):
    svg = plots.scatter(points(*places), "Top-1")
    root = parse(svg)
    width, height = map(float, root.attrib["viewBox"].split()[2:])
    assert all(0 <= x <= width and 0 <= y <= height for x, y in circles(svg))
    assert "nan" not in svg


def test_labels_of_near_points_do_not_cover_each_other():
    svg = plots.scatter(points((2.0, 0.9), (2.02, 0.9), (2.04, 0.9)), "Top-1")
    names = [t for t in parse(svg).iter("text") if t.attrib.get("class") == "name"]
    width = 7 * len("target-0")
    places = []
    for text in names:  # the left end of each
        x, y = float(text.attrib["x"]), float(text.attrib["y"])
        places.append((x - width if text.attrib.get("text-anchor") == "end" else x, y))
    for i, (x, y) in enumerate(places):
        for other_x, other_y in places[i + 1 :]:
            assert abs(y - other_y) >= 12 or abs(x - other_x) >= width


def test_strips_count_the_slow_ones_and_draw_the_rest():
    samples = [1.0 + 0.001 * i for i in range(500)] + [50.0]
    svg = plots.strips({"a": samples, "b": [1.2] * 10}, {"a": 0, "b": 1})
    texts = [t.text for t in parse(svg).iter("text")]
    assert "1.25 ms (1 slower, off the scale)" in texts
    hair = next(p for p in parse(svg).iter("path") if p.attrib["class"] == "hair")
    assert hair.attrib["d"].count("M") == 500


def test_strips_thin_out_many_samples():
    svg = plots.strips({"a": [1.0 + i * 1e-5 for i in range(50_000)]}, {})
    hair = next(p for p in parse(svg).iter("path") if p.attrib["class"] == "hair")
    assert hair.attrib["d"].count("M") == plots.TICKS_KEPT


def test_a_curve_keeps_its_gaps():
    svg = plots.curve("loss", [0, 1, 2, 3], [3.0, None, 2.0, 1.0])
    line = next(p for p in parse(svg).iter("path") if p.attrib["class"] == "line")
    assert re.sub(r"[^ML]", "", line.attrib["d"]) == "MML"
    assert parse(plots.curve("flat", [0, 1], [0.0, 0.0])) is not None


def test_ticks_are_round_and_inside():
    assert plots.nice_ticks(0, 10) == [0, 2, 4, 6, 8, 10]
    assert plots.nice_ticks(0.91, 0.99) == [0.92, 0.94, 0.96, 0.98]
    assert plots.nice_ticks(1.0, 1.0) == [1.0]
    assert plots.log_ticks(0.5, 20) == [0.5, 1.0, 2.0, 5.0, 10.0, 20.0]


def test_names_are_escaped_in_the_drawing():
    svg = plots.strips({"<b>&": [1.0, 2.0]}, {})
    assert "<b>" not in svg and "<b>&" in [t.text for t in parse(svg).iter("text")]
