"""A measured table of latencies, what it says of a network, and the expectation a search can lower."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from edgesmith.errors import UsageError
from edgesmith.models.genotype import Genotype


@dataclass(frozen=True)
class LatencyTable:
    """Milliseconds an operation takes on an edge, in all places the edge stands for, and what every network takes.

    entries: edge -> operation -> ms. device: facts of the machine that was timed.
    """

    space: str
    target: str
    threads: int
    fixed_ms: float
    entries: Mapping[str, Mapping[str, float]]
    device: Mapping[str, str] = field(default_factory=dict)
    unit: str = "ms"

    def predict(self, genotype: Genotype) -> float:
        """The sum over a network's edges, in ms. Raises: UsageError for a choice that was not measured."""
        return self.fixed_ms + sum(self._of(edge, op) for edge, op in genotype.kept().items())

    def expected(self, shares: Mapping[str, Mapping[str, Tensor]]) -> Tensor:
        """E[latency] of Architecture.shares(), in ms, with a gradient. Shape: (). Raises: UsageError."""
        terms = [share * self._of(edge, op) for edge, of_edge in shares.items() for op, share in of_edge.items()]
        return sum(terms[1:], terms[0]) + self.fixed_ms

    def _of(self, edge: str, operation: str) -> float:
        found = self.entries.get(edge, {}).get(operation)
        if found is None:
            todo = "measure the table for this space"
            raise UsageError(f"latency of {operation!r} on {edge!r}", "the table does not have it", todo)
        return found
