"""Latencies as noisy machines give them, with known truth: independent, autocorrelated and bursty samples.

Runs of two candidates that take blocks by turns on one machine, so that both see the same noise. A burst slows down
whatever runs meanwhile; both candidates have the same distribution, so that the true ratio is 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

BLOCKS, BLOCK_SIZE = 10, 20
_LONG = (400, 4000)  # runs and samples a run from which the true quantiles are read


@dataclass(frozen=True)
class Noise:
    """One kind of noise. draw: (rng, runs, samples in a row) -> milliseconds, (runs, samples)."""

    name: str
    draw: Callable[[np.random.Generator, int, int], np.ndarray]

    def quantile(self, q: float) -> float:
        """The true quantile, from 1.6 million samples."""
        return float(np.quantile(self.draw(np.random.default_rng(7), *_LONG), q))

    def interleaved(self, runs: int, seed: int, blocks: int = BLOCKS, size: int = BLOCK_SIZE) -> np.ndarray:
        """Two candidates taking blocks by turns. Shape: (runs, 2, blocks, size)."""
        drawn = self.draw(np.random.default_rng(seed), runs, 2 * blocks * size)
        return drawn.reshape(runs, blocks, 2, size).transpose(0, 2, 1, 3)


def normal(rng: np.random.Generator, runs: int, samples: int) -> np.ndarray:
    """Independent, slightly skewed: lognormal with a deviation of 10 %."""
    return np.asarray(np.exp(0.1 * rng.standard_normal((runs, samples))))


def tailed(rng: np.random.Generator, runs: int, samples: int) -> np.ndarray:
    """Independent with a floor and a long tail."""
    return np.asarray(1 + 0.2 * rng.exponential(size=(runs, samples)))


def autocorrelated(share: float) -> Callable[[np.random.Generator, int, int], np.ndarray]:
    """A first-order autoregression of the logarithm with this correlation from sample to sample."""

    def draw(rng: np.random.Generator, runs: int, samples: int) -> np.ndarray:
        state = rng.standard_normal((runs, samples))
        for place in range(1, samples):
            state[:, place] = share * state[:, place - 1] + np.sqrt(1 - share**2) * state[:, place]
        return np.asarray(np.exp(0.1 * state))

    return draw


def bursty(length: float, share: float = 0.2) -> Callable[[np.random.Generator, int, int], np.ndarray]:
    """Bursts of `length` samples on average, in `share` of the time, in which a run takes 30 % longer on average."""

    def draw(rng: np.random.Generator, runs: int, samples: int) -> np.ndarray:
        dice = rng.random((runs, samples))
        slow = dice < share
        for place in range(1, samples):
            stays, begins = dice[:, place] >= 1 / length, dice[:, place] < share / (1 - share) / length
            slow[:, place] = np.where(slow[:, place - 1], stays, begins)
        longer = 1 + 0.3 * slow * rng.exponential(size=slow.shape)
        return np.asarray(longer * np.exp(0.05 * rng.standard_normal(slow.shape)))

    return draw


NOISES = (
    Noise("independent", normal),
    Noise("independent, long tail", tailed),
    Noise("autocorrelated 0.5", autocorrelated(0.5)),
    Noise("autocorrelated 0.8", autocorrelated(0.8)),
    Noise("bursts of 4", bursty(4)),
)
# What a run of ten blocks of twenty is too short for: a few bursts make up the whole of p90.
HARDER = (
    Noise("autocorrelated 0.9", autocorrelated(0.9)),
    Noise("bursts of 10", bursty(10)),
    Noise("bursts of 20", bursty(20)),
)
