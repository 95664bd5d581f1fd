"""The parameters of the choice: alphas of edges, gates of nodes, who is alive, and the temperature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from edgesmith.errors import UsageError
from edgesmith.models.genotype import Edge


class Architecture(nn.Module):
    """One alpha vector an edge, shared by all cells of a type, and one gate vector a node that chooses its inputs.

    `nodes` maps a node to its candidate input edges; it ends with `keep` of them. Without nodes every edge stays.
    `gated` False leaves the nodes' inputs to the end of the search (`inputs`).
    """

    temperature: Tensor

    def __init__(
        self, edges: Sequence[Edge], nodes: Mapping[str, Sequence[str]] | None = None, keep: int = 2, gated: bool = True
    ) -> None:
        super().__init__()
        self.edges = {edge.name: edge for edge in edges}
        self.nodes, self.keep = {node: tuple(names) for node, names in (nodes or {}).items()}, keep
        unknown = {name for names in self.nodes.values() for name in names} - set(self.edges)
        if not edges or len(self.edges) < len(edges) or unknown:
            found = f"{len(edges)} edges, {len(self.edges)} names, nodes with unknown edges {sorted(unknown)}"
            raise UsageError("a search space", found, "give edges, each name once, and nodes made of them")
        self.alphas = nn.ParameterDict({name: torch.zeros(len(e.operations)) for name, e in self.edges.items()})
        chooses = {node: names for node, names in self.nodes.items() if gated and len(names) > keep}
        self.gates = nn.ParameterDict({node: torch.zeros(len(names)) for node, names in chooses.items()})
        self.operations = {name: edge.operations for name, edge in self.edges.items()}
        self.inputs = dict(self.nodes)
        self.register_buffer("temperature", torch.tensor(1.0))

    def alive(self, edge: str) -> tuple[str, ...]:
        """The operations left on an edge; none when its node dropped it."""
        return self.operations[edge]

    def weights(self) -> dict[str, Tensor | None]:
        """Edge -> weights of its operations alive, times its node's gate; None: exactly 1. Dropped edges are left out.

        Shape: (alive,) each.
        """
        gates = self.edge_gates()
        made: dict[str, Tensor | None] = {}
        for edge, alive in self.operations.items():
            gate = gates.get(edge)
            if len(alive) > 1:
                phi = self.operation_weights(edge)
                made[edge] = phi if gate is None else phi * gate
            elif alive:
                made[edge] = None if gate is None else gate.reshape(1)
        return made

    def operation_weights(self, edge: str) -> Tensor:
        """Phi(alpha; T) over the operations alive. Shape: (alive,). Source: equation 2 (Gibbs-Boltzmann)."""
        names = self.edges[edge].operations
        rows = [names.index(name) for name in self.operations[edge]]
        return torch.softmax(self.alphas[edge][rows] / self.temperature, 0)

    def node_weights(self, node: str) -> Tensor:
        """Weights of a node's input edges alive, each at most 1, of sum `keep`. Shape: (alive,)."""
        rows = [self.nodes[node].index(name) for name in self.inputs[node]]
        return capped_softmax(self.gates[node][rows] / self.temperature, self.keep)

    def edge_gates(self) -> dict[str, Tensor]:
        """Edge -> its node's weight for it, of the nodes that still choose."""
        open_nodes = [node for node in self.gates if len(self.inputs[node]) > self.keep]
        return {e: w for node in open_nodes for e, w in zip(self.inputs[node], self.node_weights(node).unbind())}

    def shares(self) -> dict[str, dict[str, Tensor]]:
        """Edge -> operation -> how much of it is in the network, from 0 to 1."""
        one = self.temperature.new_ones(1)
        return {
            edge: dict(zip(self.operations[edge], (one if weights is None else weights).unbind()))
            for edge, weights in self.weights().items()
        }

    @property
    def decided(self) -> bool:
        """Whether every edge has one operation and every node that chooses its inputs has done so."""
        chosen = all(len(alive) <= 1 for alive in self.operations.values())
        return chosen and all(len(self.inputs[node]) <= self.keep for node in self.gates)

    def undecided_parameters(self) -> list[nn.Parameter]:
        """The alphas and gates that still matter."""
        alphas = [self.alphas[edge] for edge, alive in self.operations.items() if len(alive) > 1]
        return alphas + [self.gates[node] for node in self.gates if len(self.inputs[node]) > self.keep]

    def restrict(self, operations: Mapping[str, Sequence[str]], inputs: Mapping[str, Sequence[str]]) -> None:
        """Keep only these operations on these edges and these inputs of these nodes; edges of no node's inputs go.

        Raises: UsageError when one is not alive, or nothing would be left.
        """
        for kept, have in ((operations, self.operations), (inputs, self.inputs)):
            for name, wanted in kept.items():
                if not wanted or not set(wanted) <= set(have.get(name, ())):
                    found = f"alive are {list(have.get(name, ()))}"
                    raise UsageError(f"keep {list(wanted)} of {name!r}", found, "keep some of those alive")
        self.operations |= {name: _in_order(self.operations[name], wanted) for name, wanted in operations.items()}
        self.inputs |= {node: _in_order(self.inputs[node], wanted) for node, wanted in inputs.items()}
        dropped = {edge for node in inputs for edge in self.nodes[node] if edge not in self.inputs[node]}
        self.operations |= {edge: () for edge in dropped}

    def get_extra_state(self) -> dict[str, Any]:
        operations = {edge: list(alive) for edge, alive in self.operations.items()}
        return {"operations": operations, "inputs": {node: list(names) for node, names in self.inputs.items()}}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        if set(state["operations"]) != set(self.edges) or set(state["inputs"]) != set(self.nodes):
            raise ValueError("the state is of another search space")
        self.operations = {edge: tuple(alive) for edge, alive in state["operations"].items()}
        self.inputs = {node: tuple(names) for node, names in state["inputs"].items()}


def capped_softmax(logits: Tensor, keep: int) -> Tensor:
    """Softmax weights scaled to the sum `keep`, with none above 1: what is over 1 goes to the others in proportion.

    With T -> 0 the `keep` largest become 1; with `keep` logits all are 1; keep 1 is softmax. Shape: (N,) -> (N,).
    """
    if len(logits) <= keep:
        return torch.ones_like(logits)
    weights = keep * torch.softmax(logits, 0)
    for _ in range(keep - 1):
        full = weights >= 1
        rest = torch.softmax(logits.masked_fill(full, -torch.inf), 0)
        weights = torch.where(full, 1.0, (keep - full.sum()) * rest)
    return weights


def _in_order(known: Sequence[str], wanted: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in known if name in set(wanted))
