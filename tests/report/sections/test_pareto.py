from __future__ import annotations

from typing import Any

import pytest

from edgesmith.report.sections.pareto import section, unbeaten
from tests.report.sample import report
from tests.report.test_chart import spec


def row(name: str, ms: float, accuracy: float) -> dict[str, Any]:
    return {"target": name, "p50": {"value": ms}, "accuracy": {"value": accuracy}}


def test_only_those_that_none_beats_in_both_are_joined() -> None:
    rows = [row("slow", 9, 0.9), row("good", 5, 0.95), row("fast", 1, 0.8), row("twin", 1, 0.7), row("worse", 6, 0.94)]
    assert [one["target"] for one in unbeaten(rows)] == ["fast", "good"]


def test_the_area_goes_with_the_size() -> None:
    found = report()
    for one, size in zip(found["rows"], (4_000_000, 1_000_000, 2_000_000)):
        one["size_bytes"] = size
    part = section(found)
    assert part is not None
    across = [trace["marker"]["size"] for trace in spec(part.body)["data"][1:]]
    assert across[0] / across[1] == pytest.approx(2.0, rel=1e-4)
    assert across[0] / across[2] == pytest.approx(2**0.5, rel=1e-4)


def test_intervals_are_the_bars_and_the_numbers_stand_behind() -> None:
    part = section(report())
    assert part is not None
    bars = spec(part.body)["data"][1]["error_y"]
    assert bars["arrayminus"] == [pytest.approx(0.02)] and bars["array"] == [pytest.approx(0.01)]
    assert part.body.count("<table") == 1 and "edgesmith run r.yaml" in part.body


def test_nothing_is_drawn_of_what_was_not_timed_or_not_scored() -> None:
    assert section(report(bench=None)) is None
    assert section(report(accuracies=[], agreements=[])) is None
