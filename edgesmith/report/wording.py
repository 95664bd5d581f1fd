"""Numbers as people read them: units, intervals, the words for the four states."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

STATE_WORD = {
    "pass": "Pass",
    "fail": "Fail",
    "inconclusive": "Inconclusive",
    "not_measured": "Not measured",
    "reference": "Reference",
}
STATE_MARK = {"pass": "✓", "fail": "✕", "inconclusive": "?", "not_measured": "–", "reference": "○"}
METRIC_NAMES = {"top1": "Top-1", "accuracy": "Verification accuracy (k-fold)"}
FACE_METRICS = {
    "tar_all@": "TAR, all pairs, FAR ",
    "tar_kept@": "TAR at the original's threshold of FAR ",
    "far_kept@": "FAR at the original's threshold of FAR ",
    "tar_mixed@": "TAR, people enrolled by the original, FAR ",
    "cosine_p1": "Cosine, 1st percentile",
    "cosine_min": "Least cosine",
    "tar@": "TAR, FAR ",
}
MINUS = "\N{MINUS SIGN}"


def number(value: float | None, digits: int = 3) -> str:
    """Significant digits without an exponent for everyday sizes; a dash for nothing."""
    if value is None:
        return "–"
    if value == 0:
        return "0"
    text = f"{value:.{digits}g}" if 1e-4 <= abs(value) < 10**digits else ""
    if not text:
        text = f"{value:.0f}" if 1 <= abs(value) < 1e7 else f"{value:.{digits - 1}e}"
    return text.replace("-", MINUS, 1) if value < 0 else text


def milliseconds(value: float | None) -> str:
    """Three significant digits, at most three decimals: 0.042, 2.41, 12.7, 135."""
    if value is None:
        return "–"
    return (
        f"{value:.3f}"
        if value < 1
        else f"{value:.2f}"
        if value < 10
        else f"{value:.1f}"
        if value < 100
        else f"{value:.0f}"
    )


def joules(value: float | None) -> str:
    """Energy with its unit, three digits: 12.3 mJ, 840 µJ, 1.02 J; below the idle power it is negative."""
    if value is None:
        return "–"
    unit, scale = next(((u, s) for u, s in (("J", 1.0), ("mJ", 1e3)) if abs(value) * s >= 1), ("µJ", 1e6))
    return f"{number(value * scale)} {unit}"


def percent(value: float | None, digits: int = 1) -> str:
    """A share as percent."""
    return "–" if value is None else f"{100 * value:.{digits}f} %"


def drop(cell: Mapping[str, Any]) -> str:
    """A drop in points with its interval: "+0.56 [−0.51, 1.98]"."""
    if cell.get("low") is None or cell.get("high") is None:
        return points(cell["value"])
    return f"{points(cell['value'])} [{100 * cell['low']:.2f}, {100 * cell['high']:.2f}]".replace("-", MINUS)


def points(value: float | None, digits: int = 2) -> str:
    """A difference of shares in percentage points, with its sign."""
    if value is None:
        return "–"
    scaled = round(100 * value, digits)
    if scaled == 0:
        return f"{0:.{digits}f}"
    return f"{'+' if scaled > 0 else MINUS}{abs(scaled):.{digits}f}"


def times(value: float | None) -> str:
    """A ratio: 5.3x."""
    return "–" if value is None else f"{value:.2f}×"


def size(value: float | None) -> str:
    """Bytes in KB or MB (powers of ten)."""
    if value is None:
        return "–"
    return (
        f"{value / 1e6:.2f} MB"
        if value < 1e8 and value >= 1e6
        else f"{value / 1e6:.0f} MB"
        if value >= 1e8
        else kilo(value)
    )


def kilo(value: float) -> str:
    """Bytes below a megabyte."""
    return f"{value / 1e3:.0f} KB" if value >= 1e4 else f"{value / 1e3:.1f} KB" if value >= 1e3 else f"{value:.0f} B"


def metric(value: float | None, name: str) -> str:
    """A metric in its usual form: cosines as they are, shares as percent, false accept rates with more digits."""
    return number(value, 5) if "cosine" in name else percent(value, 4 if name.startswith("far_") else 1)


def ends(cell: Mapping[str, Any], show: Callable[[float | None], str]) -> str:
    """The interval of a cell: "96.2–98.3 %", "−0.4 to +0.9", an open end as "…"; "" when neither end is bounded."""
    low, high = cell.get("low"), cell.get("high")
    if low is None and high is None:
        return ""
    first, second = "…" if low is None else show(low), "…" if high is None else show(high)
    if any(sign in first + second for sign in f"+{MINUS}"):
        return f"{first} to {second}"
    for unit in (" %", "×"):
        if second.endswith(unit):
            first = first.removesuffix(unit)
    return f"{first}–{second}"


def question(text: str) -> str:
    """A limit with its sign as printed in books."""
    return text.replace("<=", "≤").replace(">=", "≥")


def metric_name(name: str) -> str:
    """What a column is headed with."""
    for start, words in FACE_METRICS.items():
        if name.startswith(start):
            return words + name.removeprefix(start)
    if name in METRIC_NAMES:
        return METRIC_NAMES[name]
    return name if any(letter.isupper() for letter in name) else name[:1].upper() + name[1:]  # mAP stays mAP
