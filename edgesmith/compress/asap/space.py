"""What a search space is to the search, and how a found network takes over its supernet's weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from torch import nn

from edgesmith.compress.asap.architecture import Architecture
from edgesmith.compress.asap.mixed_op import mixed_ops
from edgesmith.errors import UsageError
from edgesmith.models.genotype import Edge, Genotype


class Space(Protocol):
    """A set of networks that share a supernet.

    The supernet is an nn.Module with an Architecture called `architecture` and its space as `space`; its forward
    hands architecture.weights()[edge] to the MixedOp of each edge that is in it. The network has the supernet's
    module names, with the chosen operation in the place of the MixedOp (`inherit` rests on it); it has `embed` and
    `head` like other models. `skips` are operations that a search may prefer only because they train fast.
    """

    @property
    def name(self) -> str: ...

    @property
    def options(self) -> Mapping[str, Any]: ...

    @property
    def edges(self) -> tuple[Edge, ...]: ...

    @property
    def skips(self) -> tuple[str, ...]: ...

    def supernet(self) -> nn.Module: ...

    def network(self, genotype: Genotype) -> nn.Module: ...

    def read(self, supernet: nn.Module) -> Genotype: ...

    def random(self, seed: int) -> Genotype: ...


def architecture_of(supernet: nn.Module) -> Architecture:
    """A supernet's Architecture. Raises: UsageError when it has none."""
    found = getattr(supernet, "architecture", None)
    if not isinstance(found, Architecture):
        raise UsageError("search", f"a {type(supernet).__name__} without an architecture", "give a space's supernet()")
    return found


def prune_modules(supernet: nn.Module) -> None:
    """Delete the operations that the supernet's Architecture has given up."""
    architecture = architecture_of(supernet)
    for _, mixed in mixed_ops(supernet):
        mixed.prune(architecture.alive(mixed.edge))


def inherit(network: nn.Module, supernet: nn.Module, genotype: Genotype) -> nn.Module:
    """Give a genotype's network the supernet's weights and statistics; gives the network back.

    Raises: UsageError when an operation that it needs was pruned, or the names do not agree.
    """
    kept, places = genotype.kept(), dict(mixed_ops(supernet))
    if gone := [m.edge for m in places.values() if m.edge in kept and kept[m.edge] not in m.alive]:
        raise _not_its_own(f"its operation on {gone[0]!r} is not alive")
    moved = {}
    for key, value in supernet.state_dict().items():
        path = next((path for path in places if key.startswith(path + ".")), None)
        if path is None:
            moved[key] = value
        else:
            chosen = f"{path}.ops.{kept.get(places[path].edge)}."
            if key.startswith(chosen):
                moved[f"{path}.{key.removeprefix(chosen)}"] = value
    moved = {key: value for key, value in moved.items() if not key.startswith("architecture.")}
    try:
        found = network.load_state_dict(moved, strict=False)
    except RuntimeError as error:
        raise _not_its_own(str(error)[:300]) from error
    if absent := set(found.missing_keys) - _affine_keys(network, moved):
        raise _not_its_own(f"nothing for {sorted(absent)[:3]}")
    if found.unexpected_keys:
        raise _not_its_own(f"no place for {found.unexpected_keys[:3]}")
    return network


def _not_its_own(found: str) -> UsageError:
    return UsageError("take over a supernet's weights", found, "give the genotype that was read from this supernet")


def _affine_keys(network: nn.Module, moved: Mapping[str, Any]) -> set[str]:
    """Scales and shifts of batch norms that have none in the supernet; they are set to 1 and 0."""
    keys = set()
    for name, module in network.named_modules():
        if isinstance(module, nn.BatchNorm2d) and f"{name}.running_mean" in moved and f"{name}.weight" not in moved:
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
            keys |= {f"{name}.weight", f"{name}.bias"}
    return keys
