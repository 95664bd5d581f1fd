"""Three plots as inline SVG: accuracy against latency, latency distributions, curves. Colours come from the page's CSS.

Text passes through `html.escape`; every plot has a title and a description for screen readers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

WIDTH, NARROW = 480, 320
LEFT, RIGHT, TOP, BOTTOM = 52, 16, 14, 40
COLOURS = 8
TICKS_KEPT = 1200  # samples drawn of one target; more are thinned evenly over the sorted ones


@dataclass(frozen=True)
class Point:
    """One target in the scatter: p50 in ms and a score, each (value, low, high); `colour` is its place in the table."""

    name: str
    colour: int
    x: tuple[float, float, float]
    y: tuple[float, float, float]


@dataclass(frozen=True)
class _Axis:
    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        low, high, value = (math.log(max(v, 1e-9)) if self.log else v for v in (self.low, self.high, value))
        share = (value - low) / (high - low) if high > low else 0.5
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        return log_ticks(self.low, self.high) if self.log else nice_ticks(self.low, self.high)


def nice_ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers inside [low, high]."""
    if not high > low:
        return [low]
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 12) for k in range(first, math.floor(high / step + 1e-9) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2, 5 times the powers of ten inside [low, high]."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [m * 10.0**p for p in powers for m in (1, 2, 5) if low <= m * 10.0**p <= high]


def scatter(points: Sequence[Point], y_label: str, percent: bool = True) -> str:
    """Score against p50; bars are 95 % intervals; the better corner is the upper left."""
    height = 300
    x_high = max(p.x[2] for p in points)
    x_low = min(p.x[1] for p in points)
    log = x_low > 0 and x_high / x_low > 20
    y_low, y_high = min(p.y[1] for p in points), max(p.y[2] for p in points)
    pad = max((y_high - y_low) * 0.12, 1e-4)
    x = _Axis(x_low / 1.3 if log else 0.0, x_high * (1.5 if log else 1.12), LEFT, WIDTH - RIGHT, log)
    y = _Axis(y_low - pad, min(y_high + pad, 1 + pad / 2), height - BOTTOM, TOP)
    parts = [*_grid(x, y, height, "p50 latency, ms", percent)]
    taken = [_Box(x.at(p.x[0]) - 6, y.at(p.y[0]) - 6, 12, 12) for p in points]
    parts += [_label(p.name, x.at(p.x[0]), y.at(p.y[0]), height - BOTTOM, taken) for p in points]
    parts += [_mark(point, x, y) for point in points]  # after the names, so that none covers a point
    told = "; ".join(f"{p.name}: {p.x[0]:.3g} ms, {p.y[0]:.4g}" for p in points)
    return svg(height, f"{y_label} against p50 latency", told, parts)


def _mark(point: Point, x: _Axis, y: _Axis) -> str:
    cx, cy = x.at(point.x[0]), y.at(point.y[0])
    bars = (
        f'<path class="bar" d="M{x.at(point.x[1]):.1f} {cy:.1f}H{x.at(point.x[2]):.1f}'
        f'M{cx:.1f} {y.at(point.y[1]):.1f}V{y.at(point.y[2]):.1f}"/>'
    )
    return f'<g class="c{point.colour % COLOURS}">{bars}<circle cx="{cx:.1f}" cy="{cy:.1f}" r="5"/></g>'


@dataclass(frozen=True)
class _Box:
    left: float
    top: float
    width: float
    height: float

    def overlap(self, other: _Box) -> float:
        wide = min(self.left + self.width, other.left + other.width) - max(self.left, other.left)
        high = min(self.top + self.height, other.top + other.height) - max(self.top, other.top)
        return max(wide, 0.0) * max(high, 0.0)


def _label(name: str, cx: float, cy: float, floor: float, taken: list[_Box]) -> str:
    """A name beside its point, where it covers least; the place it takes is added to `taken`."""
    width, tall = 7.3 * len(name), 13.0
    sides = [(9.0, -7.0), (-9 - width, -7.0), (9.0, -20.0), (9.0, 7.0), (-9 - width, -20.0), (-9 - width, 7.0)]
    sides += [(-width / 2, -24.0), (-width / 2, 11.0), (9.0, -34.0), (9.0, 21.0), (-9 - width, 21.0)]

    def cost(box: _Box) -> float:
        outside = max(LEFT - box.left, 0) + max(box.left + width - WIDTH, 0)
        outside += max(TOP - box.top, 0) + max(box.top + tall - floor, 0)
        return sum(box.overlap(other) for other in taken) + 50 * outside

    best = min((_Box(cx + dx, cy + dy, width, tall) for dx, dy in sides), key=cost)
    taken.append(best)
    if best.left + width <= cx:
        return f'<text class="name" x="{cx - 9:.1f}" y="{best.top + 11:.1f}" text-anchor="end">{escape(name)}</text>'
    return f'<text class="name" x="{best.left:.1f}" y="{best.top + 11:.1f}">{escape(name)}</text>'


def _grid(x: _Axis, y: _Axis, height: int, x_label: str, percent: bool, width: int = WIDTH) -> list[str]:
    parts = []
    for tick in y.ticks():
        text = f"{100 * tick:.4g} %" if percent else f"{tick:.5g}"
        parts.append(f'<path class="grid" d="M{LEFT} {y.at(tick):.1f}H{width - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y.at(tick) + 4:.1f}" text-anchor="end">{text}</text>')
    for tick in x.ticks():
        parts.append(f'<path class="grid" d="M{x.at(tick):.1f} {TOP}V{height - BOTTOM}"/>')
        parts.append(f'<text x="{x.at(tick):.1f}" y="{height - BOTTOM + 16}" text-anchor="middle">{tick:.4g}</text>')
    parts.append(f'<text class="axis" x="{width - RIGHT}" y="{height - 6}" text-anchor="end">{escape(x_label)}</text>')
    return parts


def strips(samples: Mapping[str, Sequence[float]], colours: Mapping[str, int]) -> str:
    """One row a target: each sample a hair line, the middle 80 % a band, the median a bar; slow outliers counted."""
    drawn = {name: np.sort(np.asarray(values, float)) for name, values in samples.items() if len(values)}
    row, height = 46, TOP + 46 * len(drawn) + 34
    # The axis ends a little past the slowest p99, so that one hiccup of the machine does not squeeze all the rest.
    high = max(float(np.quantile(values, 0.99)) for values in drawn.values()) * 1.06
    low = min(float(values[0]) for values in drawn.values())
    log = low > 0 and high / low > 30
    axis = _Axis(low / 1.2 if log else 0.0, high, 12, WIDTH - RIGHT, log)
    parts = []
    for tick in axis.ticks():
        parts.append(f'<path class="grid" d="M{axis.at(tick):.1f} {TOP}V{height - 34}"/>')
        parts.append(f'<text x="{axis.at(tick):.1f}" y="{height - 18}" text-anchor="middle">{tick:.4g}</text>')
    parts.append(f'<text class="axis" x="{WIDTH - RIGHT}" y="{height - 3}" text-anchor="end">ms a run</text>')
    for index, (name, values) in enumerate(drawn.items()):
        parts.append(_strip(name, values, axis, TOP + row * index, colours.get(name, index)))
    told = "; ".join(f"{name}: median {np.median(values):.3g} ms" for name, values in drawn.items())
    return svg(height, "Latency of every run, by target", told, parts)


def _strip(name: str, values: np.ndarray, axis: _Axis, top: float, colour: int) -> str:
    inside = values[values <= axis.high]
    kept = inside[np.unique(np.linspace(0, len(inside) - 1, min(len(inside), TICKS_KEPT)).astype(int))]
    hair = "".join(f"M{axis.at(v):.1f} {top + 20:.0f}v16" for v in kept)
    p10, p50, p90 = (axis.at(min(float(np.quantile(values, q)), axis.high)) for q in (0.1, 0.5, 0.9))
    beyond = len(values) - len(inside)
    slow = f" ({beyond} slower, off the scale)" if beyond else ""
    note = f"{np.median(values):.3g} ms{slow}"
    return (
        f'<g class="c{colour % COLOURS}"><text class="name" x="12" y="{top + 13:.0f}">{escape(name)}</text>'
        f'<text x="{WIDTH - RIGHT}" y="{top + 13:.0f}" text-anchor="end">{escape(note)}</text>'
        f'<rect class="band" x="{p10:.1f}" y="{top + 22:.0f}" width="{max(p90 - p10, 1):.1f}" height="12"/>'
        f'<path class="hair" d="{hair}"/>'
        f'<path class="median" d="M{p50:.1f} {top + 17:.0f}v22"/></g>'
    )


def curve(title: str, x: Sequence[float], y: Sequence[float | None], index: int = 0) -> str:
    """One series over the epochs; gaps stay gaps; the last value is written beside its end."""
    height = 180
    points = [(a, b) for a, b in zip(x, y) if b is not None]
    values = [b for _, b in points]
    pad = max((max(values) - min(values)) * 0.08, abs(values[-1]) * 1e-3, 1e-9)
    xs = _Axis(min(x), max(x), LEFT, NARROW - 58)
    ys = _Axis(min(values) - pad, max(values) + pad, height - BOTTOM, TOP)
    parts = _grid(xs, ys, height, "epoch", percent=False, width=NARROW)
    line, pen = "", "M"
    for a, b in zip(x, y):
        if b is None:
            pen = "M"
            continue
        line += f"{pen}{xs.at(a):.1f} {ys.at(b):.1f}"
        pen = "L"
    end_x, end_y = xs.at(points[-1][0]), ys.at(points[-1][1])
    parts.append(
        f'<g class="c{index % COLOURS}"><path class="line" d="{line}"/>'
        f'<circle cx="{end_x:.1f}" cy="{end_y:.1f}" r="3.5"/></g>'
        f'<text class="name" x="{end_x + 8:.1f}" y="{end_y + 4:.1f}">{values[-1]:.3g}</text>'
    )
    told = f"from {values[0]:.4g} to {values[-1]:.4g} over {len(points)} epochs"
    return svg(height, f"{title} over the epochs", told, parts, NARROW)


def svg(height: int, title: str, told: str, parts: Sequence[str], width: int = WIDTH) -> str:
    """A plot of the page, with its title and description for screen readers."""
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(f"{title}. {told}")}">'
        f"<title>{escape(title)}</title><desc>{escape(told)}</desc>{''.join(parts)}</svg>"
    )
