from __future__ import annotations

import json
import re
from html import unescape
from typing import Any

from edgesmith.report import drawings
from edgesmith.report.html import render
from edgesmith.report.sections.search import collected, section
from tests.report.sample import report

VERDICT = {"check": "search_budget", "target": "ort-int8", "state": "pass", "asked": "", "found": "", "more": None}
LATENCY = {
    "target": "ort-int8",
    "threads": 1,
    "device": {},
    "table": "0123456789abcdef",
    "budget_ms": 1.5,
    "predicted_ms": 1.234,
    "measured_ms": {"value": 1.36, "low": 1.3, "high": 1.4},
    "verdict": VERDICT,
}
LAYERS = [
    {"edge": "layer00", "operation": "conv<3>", "shape": "8-8-s1-8x8", "cost_ms": 0.75},
    {"edge": "layer01", "operation": "identity", "shape": "8-8-s1-8x8", "cost_ms": -0.01},
]
CELL = [{"edge": f"normal_{s}_{n}", "operation": op} for s, n, op in [(0, 2, "sep3"), (1, 2, "skip"), (2, 3, "sep3")]]


def shown_of(found: dict[str, Any]) -> str:
    part = section(report(search=found))
    assert part is not None
    return part.body


def searched(**changes: Any) -> dict[str, Any]:
    record = {"space": "chain", "tries": [{"weight": 1.0}], "layers": LAYERS, "latency": LATENCY, **changes}
    rows = [
        _row(1, 1.0, {"layer00": {"conv<3>": 0.4, "identity": 0.6}, "layer01": {"conv<3>": 0.5, "identity": 0.5}}),
        _row(2, 0.5, {"layer00": {"conv<3>": 0.7, "identity": 0.3}, "layer01": {"identity": 1.0}}),
        _row(3, 0.2, {"layer00": {"conv<3>": 1.0}, "layer01": {"identity": 1.0}}),
    ]
    epochs = [{"epoch": n, "loss": 1 / n, "seconds": 9.0 - n} for n in (1, 2, 3)]
    return collected(record, {"epochs": epochs, "search": rows, "forced": True})


def _row(epoch: int, temperature: float, weights: dict[str, dict[str, float]]) -> dict[str, Any]:
    alive = sum(len(of) for of in weights.values())
    return {"epoch": epoch, "temperature": temperature, "weights": weights, "operations": alive, "latency_ms": 2.0}


def test_a_pruned_operation_has_weight_0_from_then_on() -> None:
    found = searched()
    assert found["weights"]["layer01"] == {"conv<3>": [0.5, 0.0, 0.0], "identity": [0.5, 1.0, 1.0]}
    assert found["series"]["operations"] == [4, 3, 2] and found["series"]["seconds"] == [8.0, 7.0, 6.0]
    assert found["x"] == [1, 2, 3]


def test_the_page_shows_curves_weights_network_budget_and_the_numbers_behind_them() -> None:
    page = shown_of(searched())
    for words in ("temperature: 0.2 at the end", "operations alive", "Weights of the operations over the epochs"):
        assert words in page
    assert "conv&lt;3&gt;" in page and "conv<3>" not in page  # escaped
    assert "1.36" in page
    assert "0123456789ab" in page and "the strongest was taken" in page
    assert re.search(r"layer01</th><td>conv&lt;3&gt;</td><td[^>]*>0</td><td[^>]*>2</td>", page)  # pruned in epoch 2


def test_a_panel_an_edge_with_its_operations_stacked() -> None:
    spec = json.loads(unescape(re.findall(r'data-plot="([^"]+)"', shown_of(searched()))[0]))
    traces = [(t["xaxis"], t["stackgroup"], unescape(t["name"]), t["y"]) for t in spec["data"]]
    assert ("x2", "layer01", "conv<3>", [0.5, 0.0, 0.0]) in traces
    assert ("x2", "layer01", "identity", [0.5, 1.0, 1.0]) in traces
    assert [t["showlegend"] for t in spec["data"]] == [True, True, False, False]  # an operation once
    assert [title["text"] for title in spec["layout"]["annotations"]] == ["layer00", "layer01"]


def test_longer_layers_have_longer_bars_and_negative_costs_none() -> None:
    svg = drawings.chain(LAYERS, {"conv<3>": 0, "identity": 1})
    widths = [float(width) for width in re.findall(r'class="block" x="200"[^>]* width="([\d.]+)"', svg)]
    assert widths[0] > 100 and widths[1] == 0


def test_cells_are_drawn_as_arcs_between_their_nodes() -> None:
    page = shown_of(searched(layers=CELL, latency=None))
    assert page.count('class="line"') >= 3 and "normal cell" in page and "Latency budget" not in page


def test_a_report_without_a_search_has_no_such_part() -> None:
    assert section({}) is None and section({"search": None}) is None and 'id="search"' not in render(report())
    assert 'id="search"' in render(report(search=searched()))
