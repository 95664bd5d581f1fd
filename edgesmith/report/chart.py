"""A plot of the page: traces and layout of plotly.js as data, the same in words, and the numbers behind it.

Colours are named by the variables of the style sheet ("var(--c0)", "var(--c0)/0.2"); page.js puts in what they
are in light, dark and print. What stands in plotly's texts is escaped here, as plotly reads them as markup.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from edgesmith.report.markup import note

Spec = Mapping[str, Any]
COLOURS = 8
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star", "pentagon", "hexagon", "triangle-down")
DASHES = ("solid", "dash", "dot", "dashdot")
DIGITS = 6
HEIGHT, LOW = 360, 230  # px


@dataclass(frozen=True)
class Chart:
    """One plot.

    caption: what is shown and how to read it. told: what it says, for those who do not see it. numbers: the table
    behind it, HTML. again: how its data are made anew, HTML. height: px.
    """

    caption: str
    told: str
    traces: Sequence[Spec]
    numbers: str = ""
    layout: Spec = field(default_factory=dict)
    height: int = HEIGHT
    again: str = ""


def figure(chart: Chart) -> str:
    """The plot as HTML: a caption, the drawing that page.js fills in, the table, the command."""
    spec = json.dumps(_plain({"data": chart.traces, "layout": _laid_out(chart)}), separators=(",", ":"))
    numbers = (
        f"<details><summary>The numbers behind this plot</summary>{chart.numbers}</details>" if chart.numbers else ""
    )
    return (
        f"<figure><figcaption>{escape(chart.caption)}</figcaption>"
        f'<div class="plot" role="img" aria-label="{escape(f"{chart.caption} {chart.told}")}" '
        f'style="height:{chart.height}px" data-plot="{escape(spec)}"></div>{numbers}{note(chart.again)}</figure>'
    )


def drawing(caption: str, svg: str, numbers: str) -> str:
    """A drawing that is no plot (drawings.py), in a box that scrolls and takes the keyboard."""
    return (
        f'<figure><figcaption>{escape(caption)}</figcaption><div class="box" role="region" '
        f'aria-label="{escape(caption)}" tabindex="0">{svg}</div>'
        f"<details><summary>The numbers behind this drawing</summary>{numbers}</details></figure>"
    )


def figures(*charts: str, narrow: bool = False) -> str:
    """Plots side by side where there is room. narrow: three in a row."""
    shown = "".join(charts)
    return f'<div class="plots{" three" if narrow else ""}">{shown}</div>' if shown else ""


def colour(index: int, opacity: float | None = None) -> str:
    """The colour of the target, layer or operation at this place of the table."""
    return f"var(--c{index % COLOURS})" + (f"/{opacity:g}" if opacity is not None else "")


def line(name: str, x: Sequence[Any], y: Sequence[Any], index: int, **more: Any) -> dict[str, Any]:
    """A line; every COLOURS lines the dashes change, so that no two look the same."""
    dash = DASHES[index // COLOURS % len(DASHES)]
    style = {"color": colour(index), "width": 2, "dash": dash}
    return {"type": "scatter", "mode": "lines", "name": name, "x": list(x), "y": list(y), "line": style, **more}


def bars(name: str, x: Sequence[Any], y: Sequence[Any], index: int, **more: Any) -> dict[str, Any]:
    """Bars; lying ones with orientation="h"."""
    marker = {"color": colour(index)}
    return {"type": "bar", "name": name, "x": list(x), "y": list(y), "marker": marker, **more}


def axis(title: str = "", **more: Any) -> dict[str, Any]:
    """An axis in the colours of the page; its labels get the room they need."""
    return {
        "title": {"text": title, "standoff": 8},
        "automargin": True,
        "gridcolor": "var(--line)",
        "linecolor": "var(--line)",
        "zerolinecolor": "var(--line)",
        **more,
    }


def log_axis(title: str, values: Sequence[float], wide: float = 20.0, **more: Any) -> dict[str, Any]:
    """Logarithmic where the values are positive and lie that far apart; else from zero."""
    positive = [value for value in values if value > 0]
    if positive and len(positive) == len(values) and max(positive) / min(positive) > wide:
        return axis(title, type="log", dtick="D2", **more)
    return axis(title, rangemode="tozero", **more)


def _laid_out(chart: Chart) -> dict[str, Any]:
    named = [trace for trace in chart.traces if trace.get("showlegend", True)]
    given = dict(chart.layout)
    return {
        "font": {"family": "system-ui, sans-serif", "size": 12, "color": "var(--soft)"},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "margin": {"l": 8, "r": 12, "t": 8, "b": 8},
        "height": chart.height,
        "showlegend": len(named) > 1,
        "legend": {"orientation": "h", "x": 0, "y": -0.22, "yanchor": "top", "bgcolor": "rgba(0,0,0,0)"},
        "hoverlabel": {"bgcolor": "var(--card)", "bordercolor": "var(--line)", "font": {"color": "var(--ink)"}},
        "xaxis": axis(),
        "yaxis": axis(),
        **given,
    }


def _plain(value: Any) -> Any:
    """Texts without markup, numbers without digits that nobody sees."""
    if isinstance(value, str):
        return escape(value, quote=False)
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if value == value and abs(value) != float("inf") else None
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return value
