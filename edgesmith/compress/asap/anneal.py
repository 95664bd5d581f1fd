"""The temperature's schedule, the pruning rule, and the decisions they lead to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from edgesmith.compress.asap.architecture import Architecture
from edgesmith.errors import UsageError


@dataclass(frozen=True)
class Annealing:
    """T(t) = start * factor^t in epoch t (from 0); while T >= grace only the weights learn and nothing is pruned.

    threshold: what is below this share of the uniform weight 1/N is pruned, N being the number alive.
    Source: equations 3 and 4; the constants are those of the paper's CIFAR-10 search. Raises: UsageError.
    """

    start: float = 1.6
    factor: float = 0.95
    grace: float = 1.0
    threshold: float = 0.4

    def __post_init__(self) -> None:
        wrong = {
            f"start {self.start}": not self.start > 0,
            f"factor {self.factor}": not 0 < self.factor <= 1,
            f"threshold {self.threshold}": not 0 <= self.threshold < 1,
        }
        if found := ", ".join(text for text, bad in wrong.items() if bad):
            todo = "start must be above 0, factor in (0, 1], threshold in [0, 1) so that equal weights stay"
            raise UsageError("anneal", found, todo)

    def temperature(self, epoch: int) -> float:
        """T of an epoch, counted from 0."""
        return self.start * self.factor**epoch

    def in_grace(self, epoch: int) -> bool:
        """Whether the architecture rests in this epoch."""
        return self.temperature(epoch) >= self.grace


@dataclass(frozen=True)
class SkipLimit:
    """At most `most` edges of a group end as one of `operations`; 0: no limit."""

    operations: tuple[str, ...] = ()
    most: int = 0


def survivors(weights: Sequence[float], threshold: float, keep: int = 1) -> list[int]:
    """Positions of weights (of sum 1) not below threshold / N, and in any case of the `keep` largest."""
    order = sorted(range(len(weights)), key=lambda i: -weights[i])
    limit = threshold / len(weights)
    return [i for i in range(len(weights)) if weights[i] >= limit or i in order[:keep]]


def prune(architecture: Architecture, threshold: float, limit: SkipLimit = SkipLimit()) -> None:
    """One round of pruning at the architecture's temperature: nodes' inputs first, then operations."""
    inputs = {}
    for node in architecture.gates:
        names = architecture.inputs[node]
        if len(names) > architecture.keep:
            shares = [w / architecture.keep for w in architecture.node_weights(node).tolist()]
            inputs[node] = [names[i] for i in survivors(shares, threshold, architecture.keep)]
    architecture.restrict({}, inputs)
    weights = operation_table(architecture)
    kept = {edge: [list(of)[i] for i in survivors(list(of.values()), threshold)] for edge, of in weights.items()}
    architecture.restrict(limited(architecture, weights, kept, limit), {})


def settle(architecture: Architecture, limit: SkipLimit = SkipLimit(), never: Sequence[str] = ()) -> None:
    """Force every decision that is still open: the strongest operation, and the strongest inputs of each node.

    `never` are operations (none) chosen only where no other is alive. Ungated nodes take the edges whose best
    operation has the largest weight among all it started with. Source of that rule: DARTS, section 2.4.
    """
    weights = operation_table(architecture)
    strongest = {}
    for edge, of in weights.items():
        allowed = [name for name in of if name not in never] or list(of)
        strongest[edge] = [max(allowed, key=of.__getitem__)]
    inputs = {}
    for node, names in architecture.inputs.items():
        scores = _input_scores(architecture, node, never)
        best = sorted(names, key=lambda name: -scores[name])[: architecture.keep]
        inputs[node] = [name for name in names if name in best]
    architecture.restrict({}, inputs)
    kept = {edge: names for edge, names in strongest.items() if architecture.alive(edge)}
    architecture.restrict(limited(architecture, weights, kept, limit, never), {})


def operation_table(architecture: Architecture) -> dict[str, dict[str, float]]:
    """Edge -> operation alive -> its weight, as plain numbers; edges that are dropped are left out."""
    with torch.no_grad():
        return {
            edge: dict(zip(alive, architecture.operation_weights(edge).tolist()))
            for edge, alive in architecture.operations.items()
            if alive
        }


def limited(
    architecture: Architecture,
    weights: Mapping[str, Mapping[str, float]],
    kept: Mapping[str, Sequence[str]],
    limit: SkipLimit,
    never: Sequence[str] = (),
) -> dict[str, list[str]]:
    """`kept`, but where a group would end with too many skips, the weakest of them give way to the best other one.

    Skips that are the only operation alive stay: they were let through before.
    """
    made = {edge: list(names) for edge, names in kept.items()}
    skips = [edge for edge, names in made.items() if set(names) <= set(limit.operations)]
    for group in {architecture.edges[edge].group for edge in skips} if limit.most else ():
        mine = [edge for edge in skips if architecture.edges[edge].group == group]
        done = [edge for edge in mine if len(architecture.alive(edge)) == 1]
        fresh = sorted((e for e in mine if e not in done), key=lambda edge: -max(weights[edge][n] for n in made[edge]))
        for edge in fresh[max(limit.most - len(done), 0) :]:
            others = {name: w for name, w in weights[edge].items() if name not in {*limit.operations, *never}}
            made[edge] = [max(others, key=others.__getitem__)] if others else made[edge]
    return made


def _input_scores(architecture: Architecture, node: str, never: Sequence[str]) -> dict[str, float]:
    names = architecture.inputs[node]
    with torch.no_grad():
        if node in architecture.gates:
            rows = [architecture.nodes[node].index(name) for name in names]
            return dict(zip(names, architecture.gates[node][rows].tolist()))
        scores = {}
        for name in names:
            operations = architecture.edges[name].operations
            phi = torch.softmax(architecture.alphas[name], 0).tolist()
            allowed = [p for op, p in zip(operations, phi) if op not in never]
            scores[name] = max(allowed or phi)
        return scores
