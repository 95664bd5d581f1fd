"""Random search: what a search has to beat at the same cost. Source: Li and Talwalkar 2019, arXiv 1902.07638."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edgesmith.compress.asap.space import Space
from edgesmith.errors import UsageError
from edgesmith.models.genotype import Genotype

PATIENCE = 100  # draws in a row that bring nothing new: the space is used up


def random_members(space: Space, number: int, seed: int = 0) -> list[Genotype]:
    """So many different members of a space. Raises: UsageError when it has not so many."""
    found: list[Genotype] = []
    draw, misses = seed * 1_000_003, 0
    while len(found) < number:
        genotype = space.random(draw)
        misses = misses + 1 if genotype in found else 0
        if misses == PATIENCE:
            raise UsageError(f"draw {number} networks", f"the space has about {len(found)}", "ask for fewer")
        if not misses:
            found.append(genotype)
        draw += 1
    return found


def best(members: Sequence[Genotype], score: Callable[[Genotype], float]) -> tuple[Genotype, float]:
    """The member with the highest score (an accuracy after training, say), and that score. Raises: UsageError."""
    if not members:
        raise UsageError("random search", "no networks", "draw one or more")
    scores = [score(member) for member in members]
    top = max(range(len(members)), key=scores.__getitem__)
    return members[top], scores[top]
