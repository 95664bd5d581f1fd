"""The network that a search found, drawn as inline SVG: a chain of bars, or a cell of arcs.

Colours come from the page's CSS; text passes through `html.escape`; each has a title and a description.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from edgesmith.report.chart import COLOURS

WIDTH = 480
ROW, BOX = 26.0, 18.0


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


def svg(height: int, title: str, told: str, parts: Sequence[str]) -> str:
    """A drawing with its title and description for screen readers."""
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(f"{title}. {told}")}">'
        f"<title>{escape(title)}</title><desc>{escape(told)}</desc>{''.join(parts)}</svg>"
    )
