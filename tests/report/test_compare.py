from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from edgesmith.report.compare import compare, lines
from tests.report.sample import report


def kinds(before: dict[str, Any], after: dict[str, Any], target: str = "ort-int8") -> dict[str, str]:
    return {change.what: change.kind for change in compare(before, after) if change.target == target}


def slower(factor: float) -> dict[str, Any]:
    found = deepcopy(report())
    row = next(row for row in found["rows"] if row["target"] == "ort-int8")
    row["p50"] = {**row["p50"], **{end: row["p50"][end] * factor for end in ("value", "low", "high")}}
    return found


def test_a_run_beside_itself_changes_nothing() -> None:
    found = kinds(report(), report())
    assert found["verdict"] == found["size"] == "same"
    assert found["p50 ms"] == found["Top-1"] == "within noise"
    assert lines(compare(report(), report()))[0].startswith("0 of ")


@pytest.mark.parametrize(("factor", "kind"), [(1.2, "changed"), (0.8, "changed"), (1.0005, "within noise")])
def test_a_time_is_judged_by_the_interval_of_the_ratio(factor: float, kind: str) -> None:
    found = kinds(report(), slower(factor))
    assert found["p50 ms"] == kind and found["p90 ms"] == "within noise"


def test_an_open_interval_decides_nothing() -> None:
    after = slower(3.0)
    next(row for row in after["rows"] if row["target"] == "ort-int8")["p50"]["low"] = None
    assert kinds(report(), after)["p50 ms"] == "within noise"


def test_a_score_is_judged_by_the_interval_of_the_difference() -> None:
    after = deepcopy(report())
    score = next(row for row in after["rows"] if row["target"] == "ort-int8")["accuracy"]
    score.update(value=score["value"] - 0.2, low=score["low"] - 0.2, high=score["high"] - 0.2)
    (change,) = [c for c in compare(report(), after) if c.target == "ort-int8" and c.what == "Top-1"]
    assert change.kind == "changed" and change.change.startswith("−20.00 [−2")


def test_times_of_other_machines_are_not_compared() -> None:
    after = deepcopy(report())
    after["device"]["cpu"] = "Other CPU"
    (change,) = [c for c in compare(report(), after) if c.target == "ort-int8" and c.what == "p50 ms"]
    assert change.kind == "not comparable" and "Some CPU and Other CPU" in change.change


def test_times_of_other_scenarios_are_not_compared() -> None:
    after = deepcopy(report())
    next(row for row in after["rows"] if row["target"] == "ort-int8")["scenario"] = "offline"
    (change,) = [c for c in compare(report(), after) if c.target == "ort-int8" and c.what == "p50 ms"]
    assert change.kind == "not comparable" and "single-stream and offline" in change.change
    assert kinds(report(), after, "ort-fp32")["p50 ms"] == "within noise"


def test_a_target_that_came_or_went_is_told() -> None:
    fewer = deepcopy(report())
    fewer["rows"] = [row for row in fewer["rows"] if row["target"] != "ort-int8"]
    assert kinds(report(), fewer) == {"target": "gone"} and kinds(fewer, report()) == {"target": "added"}


def test_a_size_is_exact() -> None:
    after = deepcopy(report())
    next(row for row in after["rows"] if row["target"] == "ort-int8")["size_bytes"] += 1
    assert kinds(report(), after)["size"] == "changed"
