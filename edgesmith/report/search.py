"""The search on the page: how it annealed, the network it found, and whether the latency budget holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from edgesmith.report import drawings, plots, wording
from edgesmith.report.markup import chip, table

SERIES = {
    "temperature": "temperature",
    "operations": "operations alive",
    "seconds": "seconds an epoch",
    "latency_ms": "expected latency, ms",
    "loss": "loss",
}


def collected(record: Mapping[str, Any], history: Mapping[str, Any]) -> dict[str, Any]:
    """What the page shows of a search, from its search.json and history.json."""
    rows, epochs = history["search"], history["epochs"]
    joined = [{**epoch, **row} for epoch, row in zip(epochs, rows)]
    edges = dict.fromkeys(edge for row in rows for edge in row["weights"])
    names = {edge: dict.fromkeys(op for row in rows for op in row["weights"].get(edge, {})) for edge in edges}
    weights = {
        edge: {op: [row["weights"].get(edge, {}).get(op, 0.0) for row in rows] for op in names[edge]} for edge in edges
    }
    return {
        **{key: record[key] for key in ("space", "tries", "layers", "latency")},
        "forced": history["forced"],
        "x": [row["epoch"] for row in rows],
        "series": {name: [row.get(name) for row in joined] for name in SERIES},
        "weights": weights,
    }


def section(search: Mapping[str, Any] | None) -> str:
    """The part of the page; "" without a search."""
    if not search:
        return ""
    colours = _colours(search)
    drawn = [_curve(search, name, index) for index, name in enumerate(SERIES)]
    weights = drawings.shares(search["weights"], colours) + drawings.legend(colours) if search["weights"] else ""
    figures = _figure("Weights of the operations, edge by edge", weights, _weights(search)) if weights else ""
    figures += _figure("The network that was found", _network(search["layers"], colours), _layers(search["layers"]))
    return (
        f'<h2 id="search">Search</h2>{_outcome(search)}<div class="plots">{figures}</div>'
        f'<div class="plots three">{"".join(drawn)}</div>{_epochs(search)}'
    )


def _colours(search: Mapping[str, Any]) -> dict[str, int]:
    """A colour an operation, in the order in which they first appear."""
    seen = [op for of_edge in search["weights"].values() for op in of_edge]
    seen += [layer["operation"] for layer in search["layers"]]
    return {name: place for place, name in enumerate(dict.fromkeys(seen))}


def _outcome(search: Mapping[str, Any]) -> str:
    tries = f"{len(search['tries'])} searches, " if len(search["tries"]) > 1 else ""
    left = "some choices were still open at the end and the strongest was taken" if search["forced"] else ""
    said = f'<p class="soft">{tries}{len(search["x"])} epochs{"; " + left if left else ""}.</p>'
    latency = search["latency"]
    if not latency:
        return said
    measured, verdict = latency["measured_ms"], latency["verdict"]
    row = [
        escape(f"{latency['target']}, {latency['threads']} thread(s)"),
        chip(verdict["state"]),
        wording.milliseconds(latency["budget_ms"]),
        wording.milliseconds(latency["predicted_ms"]),
        wording.milliseconds(measured["value"]),
        f"<code>{escape(latency['table'][:12])}</code>",
    ]
    head = ("Target", "Verdict", "Budget, ms", "Sum of the table, ms", "Measured p50, ms", "Table")
    return said + table(head, [row], "Latency budget of the search", 2)


def _curve(search: Mapping[str, Any], name: str, index: int) -> str:
    values = search["series"][name]
    if sum(value is not None for value in values) < 2:
        return ""
    plot = plots.curve(SERIES[name], search["x"], values, index)
    return f"<figure><figcaption>{escape(SERIES[name])}</figcaption>{plot}</figure>"


def _network(layers: Sequence[Mapping[str, Any]], colours: Mapping[str, int]) -> str:
    """A chain as a chain; cells, whose edges are named <cell>_<source>_<node>, as arcs."""
    parts = [str(layer["edge"]).split("_") for layer in layers]
    if not all(len(words) == 3 and words[1].isdigit() and words[2].isdigit() for words in parts):
        return drawings.chain(layers, colours)
    drawn = []
    for kind in dict.fromkeys(words[0] for words in parts):
        links = [(int(w[1]), int(w[2]), str(row["operation"])) for w, row in zip(parts, layers) if w[0] == kind]
        drawn.append(f"<p>{escape(kind)}</p>{drawings.cell(f'{kind} cell', links, colours)}")
    return "".join(drawn)


def _figure(caption: str, plot: str, numbers: str) -> str:
    return (
        f'<figure><figcaption>{escape(caption)}</figcaption><div class="box" role="region" '
        f'aria-label="{escape(caption)}" tabindex="0">{plot}</div>'
        f"<details><summary>The numbers behind this plot</summary>{numbers}</details></figure>"
    )


def _weights(search: Mapping[str, Any]) -> str:
    """The weights in the last epoch, and the epoch after which an operation was gone."""
    rows = []
    for edge, of_edge in search["weights"].items():
        for name, values in of_edge.items():
            gone = next((x for x, value in zip(search["x"], values) if not value), None)
            last = wording.number(values[-1], 3)
            rows.append([escape(edge), escape(name), last, "–" if gone is None else str(gone)])
    return table(("Edge", "Operation", "Weight at the end", "Pruned in epoch"), rows, "Weights of the operations", 2)


def _layers(layers: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        [
            escape(str(layer["edge"])),
            escape(str(layer["operation"])),
            escape(str(layer.get("shape", "–"))),
            wording.number(layer["cost_ms"], 3) if layer.get("cost_ms") is not None else "–",
        ]
        for layer in layers
    ]
    return table(("Edge", "Operation", "Channels, stride, map", "Cost, ms"), rows, "The network that was found", 3)


def _epochs(search: Mapping[str, Any]) -> str:
    body = [
        [f"{x}", *(wording.number(search["series"][name][i], 4) for name in SERIES)] for i, x in enumerate(search["x"])
    ]
    numbers = table(("epoch", *SERIES.values()), body, "Epochs of the search")
    return f"<details><summary>The numbers of the search</summary>{numbers}</details>"
