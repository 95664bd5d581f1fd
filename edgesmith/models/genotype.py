"""What an architecture search decides, as a record: an operation an edge, and which edges a node keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgesmith import records
from edgesmith.errors import DamagedArtifact, UsageError


@dataclass(frozen=True)
class Edge:
    """A place where one of several operations stands; `group` names the edges whose skips are counted together."""

    name: str
    operations: tuple[str, ...]
    group: str = ""

    def __post_init__(self) -> None:
        twice = len(set(self.operations)) < len(self.operations)
        if not self.operations or twice or "." in self.name:
            found = f"operations {list(self.operations)}"
            raise UsageError(f"edge {self.name!r}", found, "give it operations, each once, and a name without dots")


@dataclass(frozen=True)
class Genotype:
    """One member of a search space.

    choices: edge -> operation. inputs: node -> the edges it keeps; nodes that choose no inputs are not in it, and
    edges of no node are all kept. options: what the space needs to be built again, in JSON types.
    """

    space: str
    options: Mapping[str, Any]
    choices: Mapping[str, str]
    inputs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def kept(self) -> dict[str, str]:
        """Edge -> operation of the edges that are in the network."""
        of_nodes = {name for names in self.inputs.values() for name in names}
        return {edge: op for edge, op in self.choices.items() if not self.inputs or edge in of_nodes}


def load_genotype(path: Path) -> Genotype:
    """Read a genotype's JSON file. Raises: MissingResource, DamagedArtifact."""
    genotype = records.load(Genotype, path)
    inputs = genotype.inputs.values()
    words = [genotype.space, *genotype.choices.values(), *(name for names in inputs for name in names)]
    if not all(isinstance(word, str) for word in words) or not isinstance(genotype.options, Mapping):
        raise DamagedArtifact(f"read {path}", "names that are no text", "search again, or take the original file")
    return genotype


def check_genotype(
    genotype: Genotype, space: str, edges: Sequence[Edge], nodes: Mapping[str, Sequence[str]] | None = None
) -> None:
    """Hold a genotype against a space: its edges, and the candidate input edges of its nodes.

    Raises: UsageError when it is of another space, DamagedArtifact when an edge, a node or an operation is wrong.
    """
    if genotype.space != space:
        found, todo = f"it is of the space {genotype.space!r}", f"give one of the space {space!r}"
        raise UsageError("build a genotype's network", found, todo)
    known, candidates = {edge.name: edge.operations for edge in edges}, dict(nodes or {})
    problems = [f"no edge {name!r} in this space" for name in genotype.choices if name not in known]
    problems += [f"no choice for edge {name!r}" for name in _needed(genotype, known, candidates)]
    for name, operation in genotype.choices.items():
        if name in known and operation not in known[name]:
            problems.append(f"{operation!r} on edge {name!r}, which has {', '.join(known[name])}")
    for node in [*candidates, *(name for name in genotype.inputs if name not in candidates)]:
        kept = genotype.inputs.get(node, ())
        if not kept or len(set(kept)) < len(kept) or not set(kept) <= set(candidates.get(node, ())):
            problems.append(f"node {node!r} takes {list(kept)}")
    if problems:
        todo = "search again, or take the original file"
        raise DamagedArtifact("build a genotype's network", "; ".join(problems), todo)


def _needed(genotype: Genotype, edges: Mapping[str, Any], nodes: Mapping[str, Sequence[str]]) -> list[str]:
    """The edges without a choice that need one: those a node keeps, and those of no node."""
    optional = {name for names in nodes.values() for name in names}
    kept = {name for names in genotype.inputs.values() for name in names}
    return [name for name in edges if name not in genotype.choices and (name in kept or name not in optional)]
