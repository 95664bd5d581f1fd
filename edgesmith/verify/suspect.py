"""Whether one layer's own error is more than its precision explains, and what it looks like."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgesmith.verify.taps import Seen

# Largest ratios seen of sound layers were about a third of these (benchmarks/planted_faults.py, controls).
WHOLE, CHANNEL = 6.0, 50.0
OFFSET = 0.8  # median over the channels of the mean error, over the expected root mean square error
SATURATED = 0.3  # of the layer's power lost beyond the ends of the grid
SURE = 4.0  # standard errors: of hundreds of channels some are always off by two
TINY = 1e-30


@dataclass(frozen=True)
class Excess:
    """Local error over expected error: of the whole layer, its worst channel, the offset that all channels share, and
    power lost by saturation.

    Each is over its own limit, so that above 1 means under suspicion.
    """

    whole: float
    channel: float
    offset: float
    saturation: float
    worst_channel: int
    spread: float

    @property
    def most(self) -> float:
        return max(self.whole, self.channel, self.offset, self.saturation)


def excess(
    seen: Seen, expected: list[np.ndarray], own: Means | None, gridded: bool, factor: np.ndarray | None
) -> Excess:
    """Judge a layer that was fed the original's inputs.

    expected: the same layer with the intended rounding only. own: mean error a channel on its own inputs, for a layer
    with a bias: a corrected one is off here and right there. gridded: values lie on a grid that ends somewhere.
    """
    if not np.isfinite(seen.found).all():
        return Excess(np.inf, np.inf, np.inf, 0.0, 0, 1.0)
    inside = within_grid(seen, factor) if gridded else np.ones(seen.reference.shape, bool)
    error = by_channel(np.where(inside, seen.found - seen.reference, 0))
    noise = [by_channel(np.where(inside, one - seen.reference, 0)) for one in expected]
    means = error.mean(1)
    kept = _smaller(means, own) if gridded and own is not None else means
    power = error.var(1) + kept**2
    floor = np.mean([np.square(one).mean(1) for one in noise], axis=0)
    least = 0.1 * floor.mean() + TINY
    ratios = power / (floor + least)
    lost = float(np.square(np.where(inside, 0, seen.found - seen.reference)).sum())
    signal = float(np.square(seen.reference).sum()) + TINY
    scale = np.ones(len(kept)) if factor is None else np.asarray(factor, np.float64).ravel()
    shared = abs(float(np.median(kept * scale))) / float(np.sqrt(np.mean(floor * scale**2)) + TINY)
    return Excess(
        float(power.sum() / (floor.sum() + TINY)) / WHOLE,
        float(ratios.max()) / CHANNEL,
        shared / OFFSET if gridded else 0.0,
        lost / signal / SATURATED,
        int(ratios.argmax()),
        float((ratios > 0.1 * ratios.max()).mean()),
    )


def within_grid(seen: Seen, factor: np.ndarray | None) -> np.ndarray:
    """Where the original's value does not lie beyond the ends of what the artefact shows."""
    scale = np.float32(1) if factor is None else factor
    found, wanted = seen.found * scale, seen.reference * scale
    low, high = float(found.min()), float(found.max())
    half = (high - low) / 510
    above = (found >= high - half) & (wanted > high + half)
    below = (found <= low + half) & (wanted < low - half)
    return ~(above | below)


def by_channel(x: np.ndarray) -> np.ndarray:
    """Shape: (N, C, ...) -> (C, values), in float64."""
    if x.ndim < 2:
        return x.reshape(1, -1).astype(np.float64)
    return np.moveaxis(x, 1, 0).reshape(x.shape[1], -1).astype(np.float64)


@dataclass(frozen=True)
class Means:
    """Mean error of each channel, and its standard error over the samples. Shape: (C,)."""

    value: np.ndarray
    error: np.ndarray


def channel_means(seen: Seen) -> Means:
    """Mean error of each channel."""
    x = (seen.found - seen.reference).astype(np.float64)
    if x.ndim < 2:
        return Means(np.array([x.mean()]), np.array([np.inf]))
    each = x.reshape(*x.shape[:2], -1).mean(2)
    return Means(
        each.mean(0), each.std(0) / np.sqrt(max(len(each) - 1, 1)) if len(each) > 1 else np.full(x.shape[1], np.inf)
    )


def _smaller(local: np.ndarray, own: Means) -> np.ndarray:
    """A corrected bias is off with exact inputs and right with its own: what both say is left, as far as it is sure."""
    sure = np.sign(own.value) * np.maximum(np.abs(own.value) - SURE * own.error, 0)
    return np.where(np.abs(sure) < np.abs(local), sure, local)


def cause(seen: Seen, found: Excess, precision: str) -> tuple[str, str]:
    """What the error looks like: a cause in words, "" where it cannot be told, and the evidence."""
    x, y = by_channel(seen.reference), by_channel(seen.found)
    if not np.isfinite(y).all():
        return "NaN or infinity", "the layer's value is not finite"
    worst = found.worst_channel
    if found.saturation > 1 and found.saturation >= found.channel:
        return "saturated range", "values lie beyond the ends of the grid"
    if y[worst].std() < 1e-3 * x[worst].std():
        return "dead channel", f"channel {worst} is constant"
    if found.offset >= max(found.whole, found.channel):
        return "wrong zero point or bias", f"all channels are off by about {float(np.median((y - x).mean(1))):.3g}"
    for told in (_moved(x, y, worst), _affine(x, y, found), _borders(seen), _lowered(x, y, precision)):
        if told is not None:
            return told
    return "", f"worst in channel {worst}, {found.spread:.0%} of the channels are affected"


def _moved(x: np.ndarray, y: np.ndarray, worst: int) -> tuple[str, str] | None:
    """The channel is another one's."""
    likeness = np.abs(_correlation(x, y[worst]))
    best = int(likeness.argmax())
    if best != worst and likeness[best] > 0.99 and likeness[worst] < 0.9:
        return "swapped channels", f"channel {worst} looks like the original's channel {best}"
    return None


def _affine(x: np.ndarray, y: np.ndarray, found: Excess) -> tuple[str, str] | None:
    """The channel is the original's, scaled or shifted."""
    worst = found.worst_channel
    gain = float(np.cov(x[worst], y[worst])[0, 1] / (x[worst].var(ddof=1) + TINY)) if x.shape[1] > 1 else 1.0
    shift = float(y[worst].mean() - gain * x[worst].mean())
    left = y[worst] - gain * x[worst] - shift
    share = left.var() / (np.square(y[worst] - x[worst]).mean() + TINY)
    where = "every channel" if found.spread > 0.5 else f"channel {worst}"
    if share < 0.1 and abs(gain - 1) > 0.02:
        return "wrong scale", f"{where} is {gain:.3g} times the original"
    if share < 0.3 and abs(gain - 1) <= 0.02:
        return "wrong zero point or bias", f"{where} is off by {shift:.3g}"
    return None


def _borders(seen: Seen) -> tuple[str, str] | None:
    """The error stands at the edges of the map."""
    if seen.reference.ndim != 4 or min(seen.reference.shape[2:]) < 4:
        return None
    error = np.square(seen.found - seen.reference).mean((0, 1))
    inner, whole = error[1:-1, 1:-1].mean(), error.mean()
    if inner < 0.1 * whole:
        return "wrong padding or resize mode", "the error stands at the borders of the map"
    return None


def _lowered(x: np.ndarray, y: np.ndarray, precision: str) -> tuple[str, str] | None:
    """Errors in proportion to the values, of the size of a shorter float."""
    relative = float(np.sqrt(np.square(y - x).sum() / (np.square(x).sum() + TINY)))
    if precision != "int8" and relative < 2.0**-6:
        return "precision silently lowered", f"relative error {relative:.1e} in a file of {precision}"
    return None


def _correlation(x: np.ndarray, one: np.ndarray) -> np.ndarray:
    centred, other = x - x.mean(1, keepdims=True), one - one.mean()
    return np.asarray(centred @ other / (np.linalg.norm(centred, axis=1) * np.linalg.norm(other) + TINY))
