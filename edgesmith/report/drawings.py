"""Drawings of a search as inline SVG: how the weights of operations moved, and the network that was found.

Colours come from the page's CSS; text passes through `html.escape`; each has a title and a description.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from edgesmith.report.plots import COLOURS, WIDTH, svg

PANEL, GAP, COLUMNS = 92.0, 12.0, 4
ROW, BOX = 26.0, 18.0


def shares(weights: Mapping[str, Mapping[str, Sequence[float]]], colours: Mapping[str, int]) -> str:
    """One small panel an edge: the weights of its operations over the epochs, stacked to 1; a pruned one ends.

    weights: edge -> operation -> its weight in each epoch (0 once it is pruned).
    """
    side = (WIDTH - GAP * (COLUMNS - 1)) / COLUMNS
    parts = []
    for index, (edge, of_edge) in enumerate(weights.items()):
        left, top = index % COLUMNS * (side + GAP), index // COLUMNS * (PANEL + GAP) + 14
        parts.append(f'<text class="name" x="{left:.1f}" y="{top - 3:.1f}">{escape(edge)}</text>')
        parts += _stack(of_edge, colours, (left, top, side, PANEL - 18))
    height = round(-(-len(weights) // COLUMNS) * (PANEL + GAP) + 4)
    told = "; ".join(f"{edge}: ends with {_last(of_edge)}" for edge, of_edge in weights.items())
    return svg(height, "Weights of the operations over the epochs, by edge", told, parts)


def _stack(
    of_edge: Mapping[str, Sequence[float]], colours: Mapping[str, int], box: tuple[float, float, float, float]
) -> list[str]:
    left, top, width, height = box
    epochs = max(len(values) for values in of_edge.values())
    step = width / max(epochs - 1, 1)
    below = [0.0] * epochs
    parts = [f'<path class="grid" d="M{left:.1f} {top:.1f}h{width:.1f}v{height:.1f}h-{width:.1f}z"/>']
    for name, values in of_edge.items():
        above = [low + value for low, value in zip(below, values)]
        line = [f"{left + i * step:.1f} {top + height * (1 - share):.1f}" for i, share in enumerate(above)]
        back = [f"{left + i * step:.1f} {top + height * (1 - share):.1f}" for i, share in enumerate(below)]
        place = colours.get(name, 0) % COLOURS
        if any(values):
            parts.append(
                f'<g class="c{place}"><title>{escape(name)}</title>'
                f'<path class="share" d="M{"L".join([*line, *reversed(back)])}z"/></g>'
            )
        below = above
    return parts


def _last(of_edge: Mapping[str, Sequence[float]]) -> str:
    alive = [name for name, values in of_edge.items() if values and values[-1] > 0]
    return " or ".join(alive) or "nothing"


def legend(colours: Mapping[str, int]) -> str:
    """The colour of each operation, one below another in columns."""
    parts, per_row = [], 3
    for index, (name, place) in enumerate(colours.items()):
        x, y = index % per_row * (WIDTH / per_row), index // per_row * 18 + 4
        parts.append(
            f'<g class="c{place % COLOURS}"><rect class="block" x="{x:.1f}" y="{y}" width="12" height="12"/></g>'
            f'<text x="{x + 18:.1f}" y="{y + 10}">{escape(name)}</text>'
        )
    return svg(round(-(-len(colours) // per_row) * 18 + 6), "Colours of the operations", ", ".join(colours), parts)


def chain(layers: Sequence[Mapping[str, Any]], colours: Mapping[str, int]) -> str:
    """A chain from its first layer to its last: a bar as long as the layer costs, its choice and its shape.

    layers: edge, operation, shape and, where a table was measured, cost_ms.
    """
    costs = [max(float(layer.get("cost_ms") or 0.0), 0.0) for layer in layers]
    most, start = max(costs, default=0.0), 200.0
    parts = []
    for index, (layer, cost) in enumerate(zip(layers, costs)):
        y, place = index * ROW + 4, colours.get(str(layer["operation"]), 0) % COLOURS
        long = (WIDTH - start - 70) * (cost / most if most else 0.0)
        if index:
            parts.append(f'<path class="grid" d="M8 {y - ROW + BOX:.1f}V{y:.1f}"/>')
        parts.append(
            f'<g class="c{place}"><rect class="block" x="0" y="{y:.1f}" width="16" height="{BOX:.0f}" rx="3"/>'
        )
        parts.append(f'<rect class="block" x="{start:.0f}" y="{y:.1f}" width="{long:.1f}" height="{BOX:.0f}"/></g>')
        parts.append(f'<text class="name" x="24" y="{y + 13:.1f}">{escape(str(layer["operation"]))}</text>')
        note = f"{cost:.3g} ms" if layer.get("cost_ms") is not None else str(layer.get("shape", ""))
        parts.append(f'<text x="{start + long + 6:.1f}" y="{y + 13:.1f}">{escape(note)}</text>')
    told = ", ".join(f"{layer['edge']} {layer['operation']}" for layer in layers)
    return svg(round(len(layers) * ROW + 6), "The network that was found", told, parts)


def cell(title: str, links: Sequence[tuple[int, int, str]], colours: Mapping[str, int]) -> str:
    """A cell as arcs between numbered nodes; 0 and 1 are its inputs. links: source, node, operation."""
    nodes = sorted({end for source, node, _ in links for end in (source, node)})
    gap = (WIDTH - 40) / max(len(nodes) - 1, 1)
    x = {node: 20 + index * gap for index, node in enumerate(nodes)}
    middle = max(12 + (x[node] - x[source]) * 0.5 for source, node, _ in links) / 2 + 22
    parts = []
    for index, (source, node, operation) in enumerate(links):
        bend = (1 if index % 2 else -1) * (12 + (x[node] - x[source]) * 0.5)
        place, half = colours.get(operation, 0) % COLOURS, (x[source] + x[node]) / 2
        curve = f"M{x[source]:.1f} {middle:.1f}Q{half:.1f} {middle + bend:.1f} {x[node]:.1f} {middle:.1f}"
        parts.append(f'<g class="c{place}"><title>{escape(operation)}</title><path class="line" d="{curve}"/></g>')
        y = middle + bend / 2 + (4 if bend < 0 else 12)
        parts.append(f'<text class="name" x="{half:.1f}" y="{y:.1f}" text-anchor="middle">{escape(operation)}</text>')
    for node in nodes:
        parts.append(f'<g class="c7"><circle cx="{x[node]:.1f}" cy="{middle:.1f}" r="11"/></g>')
        parts.append(f'<text class="node" x="{x[node]:.1f}" y="{middle + 4:.1f}" text-anchor="middle">{node}</text>')
    told = "; ".join(f"{operation} from {source} to {node}" for source, node, operation in links)
    return svg(round(2 * middle), title, told, parts)
