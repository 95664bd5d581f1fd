from __future__ import annotations

from typing import Any

from edgesmith.report.sections.layers import SHOWN, section
from tests.report.sample import report
from tests.report.test_chart import spec


def row(layer: str, ms: float, op: str = "Conv", share: float = 0.5) -> dict[str, Any]:
    interval = {"value": ms, "low": ms * 0.9, "high": ms * 1.1, "confidence": 0.95}
    return {"layer": layer, "op": op, "ms": interval, "share": share, "members": ["relu<b>"]}


def profiled(*rows: dict[str, Any]) -> dict[str, Any]:
    return {"rows": list(rows), "whole_ms": {}, "runs": 50, "mapped": 0.9, "source": "its profiler"}


def test_each_target_has_its_bars_and_its_table() -> None:
    layers = {"ort-fp32": profiled(row("<i>stem", 1.0), row("", 0.5, "Reorder")), "a": profiled(row("<i>stem", 2.0))}
    part = section({**report(), "layers": layers})
    assert part is not None and "<i>" not in part.body and "relu&lt;b&gt;" in part.body
    found = spec(part.body)
    assert [trace["x"] for trace in found["data"]] == [[1.0, 0.5], [2.0, None]]
    assert found["data"][0]["y"] == ["&lt;i&gt;stem", "(no layer)"]
    assert "0.900" in part.body and "50 runs" in part.body and "most in &lt;i&gt;stem" in part.body


def test_the_plot_has_the_slowest_and_the_table_every_layer() -> None:
    many = [row(f"layer{place:03}", 1.0 + place) for place in range(SHOWN + 5)]
    part = section({**report(), "layers": {"a": profiled(*many)}})
    assert part is not None
    found = spec(part.body)
    assert len(found["data"][0]["y"]) == SHOWN and found["data"][0]["y"][0] == "layer005"  # in the order of execution
    assert "5 more stand in the tables" in part.body and "layer000" in part.body


def test_without_a_profile_there_is_no_such_part() -> None:
    assert section(report()) is None and section({**report(), "layers": {"a": profiled()}}) is None
