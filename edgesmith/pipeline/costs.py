"""Additive costs from the times of whole networks: weighted least squares, shrunk towards what MACs explain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SHRINKAGES = (1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0)


@dataclass(frozen=True)
class Costs:
    """time = fixed + sum of each choice's cost. left_out_error: relative, root mean square over networks left out."""

    fixed: float
    each: np.ndarray
    shrinkage: float
    left_out_error: float


def fit_costs(counts: np.ndarray, macs: np.ndarray, times: np.ndarray) -> Costs:
    """Costs of choices from how often each stands in a network and how long the network takes.

    First times = a + b * MACs + c * layers; then each choice's deviation from that, by ridge regression whose strength
    is the one that predicts a network best from all others. Errors count relative to a network's time.
    Shape: counts (networks, choices), macs (choices,), times (networks,) in ms.
    Source: ridge regression and its leave-one-out formula, Hastie, Tibshirani and Friedman, equations 3.44 and 7.52.
    """
    simple = np.stack([np.ones(len(macs)), macs], 1) * (macs > 0)[:, None]  # a layer that does nothing costs nothing
    overall = np.concatenate([np.ones((len(times), 1)), counts @ simple], 1)
    start, *_ = np.linalg.lstsq(overall / times[:, None], np.ones(len(times)), rcond=None)
    rest = 1 - overall @ start / times
    scaled = np.concatenate([np.ones((len(times), 1)), counts], 1) / times[:, None] * times.mean()
    best = min((_ridge(scaled, rest, strength) for strength in SHRINKAGES), key=lambda found: found[1])
    deviation, error, strength = best[0] * times.mean(), best[1], best[2]
    return Costs(float(start[0] + deviation[0]), simple @ start[1:] + deviation[1:], strength, error)


def _ridge(rows: np.ndarray, values: np.ndarray, strength: float) -> tuple[np.ndarray, float, float]:
    """Coefficients, the root mean square error of each row predicted from the others, and the strength itself."""
    inverse = np.linalg.inv(rows.T @ rows + strength * np.eye(rows.shape[1]))
    coefficients = inverse @ rows.T @ values
    leverage = np.einsum("ij,jk,ik->i", rows, inverse, rows)
    left_out = (values - rows @ coefficients) / np.maximum(1 - leverage, 1e-9)
    return coefficients, float(np.sqrt(np.mean(left_out**2))), strength
