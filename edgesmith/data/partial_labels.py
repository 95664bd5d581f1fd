"""Partial labels made from complete ones, to study methods that learn from them.

Source: Ben-Baruch et al. 2022, arXiv 2110.10955, section 4.1.
"""

from __future__ import annotations

import re

import numpy as np

from edgesmith.errors import UsageError

FORMS = 'write "fpc:1000" (labels kept a class, of each kind) or "rps:0.5" (share dropped)'
_RULE = re.compile(r"(fpc):(\d+)|(rps):(\d*\.?\d+)")


def hidden(labels: np.ndarray, rule: str, seed: int) -> np.ndarray:
    """The labels with some of them turned to -1 by a rule in words: "", "fpc:N" or "rps:P". Raises: UsageError."""
    if not rule:
        return labels
    found = _RULE.fullmatch(rule)
    if not found:
        raise UsageError("partial labels", f"rule {rule!r}", FORMS)
    if found[1]:
        return fixed_per_class(labels, int(found[2]), seed)
    return random_per_sample(labels, float(found[4]), seed)


def fixed_per_class(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Of every class `count` random positives and as many negatives are kept, all there are where it has fewer.

    Shape: (N, C) -> (N, C). Raises: UsageError for a count below 1. Source: ibid., "fixed per class".
    """
    if count < 1:
        raise UsageError("partial labels", f"{count} labels a class", FORMS)
    rng, kept = np.random.default_rng(seed), np.full_like(labels, -1)
    for column in range(labels.shape[1]):
        for value in (1, 0):
            rows = rng.permutation(np.flatnonzero(labels[:, column] == value))[:count]
            kept[rows, column] = value
    return kept


def random_per_sample(labels: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Every label is dropped with probability `share`, each by itself. Shape: (N, C) -> (N, C).

    Raises: UsageError for a share outside 0..1. Source: ibid., "random per annotation".
    """
    if not 0 <= share < 1:
        raise UsageError("partial labels", f"share {share}", FORMS)
    dropped = np.random.default_rng(seed).random(labels.shape) < share
    return np.where(dropped, np.int8(-1), labels)
