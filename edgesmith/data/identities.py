"""Identities of a face set seen by a face net: pictures that show somebody else, and people two sets share."""

from __future__ import annotations

import numpy as np

from edgesmith.metrics import unit

ROUNDS = 3


def identity_centres(embeddings: np.ndarray, person: np.ndarray, keep: np.ndarray | None = None) -> np.ndarray:
    """The normalised mean of each person's unit embeddings; `keep` says which rows count.

    Shape: (N, d), (N,) people from 0, (N,) bool -> (P, d); a person without a row has zeros.
    """
    z = unit(embeddings)
    if keep is not None:
        z = z * keep[:, None]
    total = np.zeros((int(person.max()) + 1, z.shape[1]))
    np.add.at(total, person, z)
    length = np.linalg.norm(total, axis=1, keepdims=True)
    return np.divide(total, length, out=np.zeros_like(total), where=length > 0)


def strangers(embeddings: np.ndarray, person: np.ndarray, least: float, rounds: int = ROUNDS) -> np.ndarray:
    """Pictures whose cosine to their person's centre is below `least`; centres are taken again without them.

    The first centre is the picture nearest to all of a person's others, which no wrong picture can be while right ones
    are the majority. Shape: (N, d), (N,) people from 0 -> (N,) bool.
    """
    z = unit(embeddings)
    centres = np.zeros((int(person.max()) + 1, z.shape[1]))
    for number in np.unique(person):
        rows = z[person == number]
        centres[number] = rows[np.median(rows @ rows.T, axis=1).argmax()]
    keep = np.ones(len(z), bool)
    for _ in range(rounds):
        keep = (z * centres[person]).sum(1) >= least
        centres = identity_centres(z, person, keep)
    return ~keep


def nearest(centres: np.ndarray, others: np.ndarray, block: int = 1024) -> np.ndarray:
    """The highest cosine of each centre to any of the `others`. Shape: (P, d), (M, d) -> (P,)."""
    first, second = unit(centres), unit(others)
    found = [(first[start : start + block] @ second.T).max(1) for start in range(0, len(first), block)]
    return np.concatenate(found)
