"""The search on the page: how it annealed, the network it found, and whether the latency budget holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from edgesmith.report import drawings, wording
from edgesmith.report.chart import Chart, axis, colour, drawing, figure, figures, line
from edgesmith.report.commands import again
from edgesmith.report.markup import Part, chip, note, table
from edgesmith.report.sections.training import curve

COLUMNS = 4  # panels side by side
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


def section(report: Mapping[str, Any]) -> Part | None:
    """How the search annealed, and what it found; None without one."""
    search = report.get("search")
    if not search:
        return None
    colours, made = _colours(search), again(report, "search")
    curves = [_curve(search, name, index) for index, name in enumerate(SERIES)]
    weights = figure(_annealing(search, colours, made)) if search["weights"] else ""
    found = _network(search["layers"], colours)
    drawn = drawing("The network that was found", found, _layers(search["layers"])) if found else ""
    body = f"{_outcome(search)}{figures(weights, drawn)}{figures(*curves, narrow=True)}{_epochs(search)}"
    return Part("search", "Search", body + note(made))


def _annealing(search: Mapping[str, Any], colours: Mapping[str, int], made: str) -> Chart:
    """One small panel an edge: the weights of its operations over the epochs, stacked to 1; a pruned one ends."""
    edges, traces, named = list(search["weights"]), [], set()
    rows = -(-len(edges) // COLUMNS)
    layout: dict[str, Any] = {"grid": {"rows": rows, "columns": COLUMNS, "pattern": "independent", "ygap": 0.45}}
    titles = []
    for place, (edge, of_edge) in enumerate(search["weights"].items(), 1):
        end = "" if place == 1 else str(place)
        layout |= {f"xaxis{end}": axis(), f"yaxis{end}": axis(range=[0, 1], showticklabels=(place - 1) % COLUMNS == 0)}
        where = {"xref": f"x{end} domain", "yref": f"y{end} domain", "x": 0, "y": 1.02, "yanchor": "bottom"}
        titles.append({"text": edge, "showarrow": False, "xanchor": "left", "font": {"color": "var(--ink)"}, **where})
        for name, values in of_edge.items():
            trace = line(name, search["x"], values, colours[name], stackgroup=edge, legendgroup=name)
            trace |= {"xaxis": f"x{end}", "yaxis": f"y{end}", "fillcolor": colour(colours[name], 0.75)}
            traces.append(trace | {"showlegend": name not in named})
            named.add(name)
    told = "; ".join(f"{edge}: ends with {_last(of_edge)}" for edge, of_edge in search["weights"].items())
    height = 110 * rows + 90
    layout |= {"annotations": titles, "margin": {"l": 8, "r": 12, "t": 24, "b": 8}}
    layout["legend"] = {"orientation": "h", "x": 0, "y": -60 / height, "yanchor": "top"}
    caption = "Weights of the operations over the epochs, edge by edge; one that ends was pruned."
    return Chart(caption, told, traces, _weights(search), layout, height, made)


def _last(of_edge: Mapping[str, Sequence[float]]) -> str:
    alive = [name for name, values in of_edge.items() if values and values[-1] > 0]
    return " or ".join(alive) or "nothing"


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
    return curve(SERIES[name], search["x"], values, index)


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
