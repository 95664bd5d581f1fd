"""The original layer by layer: which layer reads which, what each computes, and one layer alone on given inputs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from edgesmith.errors import UsageError
from edgesmith.graph.naming import operator_name
from edgesmith.graph.operators import is_weighted
from edgesmith.graph.program import Program
from edgesmith.tensors import Arrays, check_feed

# Weight of a layer -> the weight it shall have instead; whatever else a node computes -> what stands for it.
Change = Callable[[Tensor], Tensor]
INPUT = "input:"
_RANDOM = {"dropout", "feature_dropout", "alpha_dropout", "native_dropout", "bernoulli", "rand_like", "randn_like"}


@dataclass(frozen=True)
class Layer:
    """One place where an exported model is compared with its original.

    sources: the nearest places before it, "input:<name>" among them. members: the paths of what is computed between
    them and here, in order, this one last: a folded batch norm's convolution is a member of the batch norm.
    operators: what each member is ("conv2d"). weighted: whether a convolution or linear layer is among them.
    size_bytes: of its value for one sample.
    """

    path: str
    sources: tuple[str, ...]
    members: tuple[str, ...]
    operators: tuple[str, ...]
    weighted: bool
    size_bytes: int


def layers(program: Program, places: Collection[str]) -> tuple[Layer, ...]:
    """The layers of `program` that can be seen, in order. places: their paths; those that are no layer are left out.

    Raises: UsageError where a layer would answer differently each time.
    """
    check_deterministic(program)
    nodes = program.nodes
    seen = {nodes[path].name: path for path in places if path in nodes and _is_float(nodes[path])}
    return tuple(_layer(program, node, seen) for node in program.module.graph.nodes if node.name in seen)


def check_deterministic(program: Program) -> None:
    """Raises: UsageError naming a layer that draws random numbers: nothing can be compared with it."""
    for node in program.module.graph.nodes:
        if node.op == "call_function" and operator_name(node) in _RANDOM and _is_active(node):
            path = program.paths.get(node.name, node.name)
            raise UsageError(
                "compare layer by layer", f"{path} is random (it is in training mode)", "call .eval() on the model"
            )


def _is_active(node: fx.Node) -> bool:
    """Whether a dropout is on; what draws numbers otherwise always is."""
    flags = [argument for argument in node.args if isinstance(argument, bool)]
    return "dropout" not in operator_name(node) or not flags or flags[-1]


def _is_float(node: fx.Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, Tensor) and value.is_floating_point() and value.dim() > 0


def _layer(program: Program, node: fx.Node, seen: Mapping[str, str]) -> Layer:
    sources, members = _behind(program, node, seen)
    paths = tuple(program.paths.get(one.name, one.name) for one in members)
    kinds = tuple(operator_name(one) for one in members)
    value = node.meta["val"]
    sizes = [size for size in value.shape[1:] if isinstance(size, int)]
    one_sample = int(np.prod(sizes)) * value.element_size()
    return Layer(program.paths[node.name], sources, paths, kinds, any(is_weighted(one) for one in members), one_sample)


def _behind(program: Program, last: fx.Node, seen: Mapping[str, str]) -> tuple[tuple[str, ...], list[fx.Node]]:
    """What is seen before a node, and the nodes in between with itself, in graph order."""
    inputs = {n.name: f"{INPUT}{spec.name}" for n, spec in zip(_placeholders(program), program.inputs)}
    found: dict[str, None] = {}
    between, waiting = {last}, list(last.all_input_nodes)
    while waiting:
        node = waiting.pop(0)
        if node.name in seen or node.name in inputs:
            found[seen.get(node.name) or inputs[node.name]] = None
        elif node not in between and node.op == "call_function":
            between.add(node)
            waiting.extend(node.all_input_nodes)
    return tuple(found), [node for node in program.module.graph.nodes if node in between]


def _placeholders(program: Program) -> list[fx.Node]:
    return list(program.module.graph.find_nodes(op="placeholder"))


class Original:
    """The original on one batch of inputs. It keeps the inputs only: values are computed when they are asked for."""

    def __init__(self, program: Program, feed: Arrays) -> None:
        check_feed(program.inputs, feed)
        self.program, self.feed = program, feed
        self._nodes = program.nodes
        self._inputs = {f"{INPUT}{spec.name}": node.name for node, spec in zip(_placeholders(program), program.inputs)}

    def values(self, paths: Collection[str]) -> Arrays:
        """What the layers compute. Raises: UsageError for a path that is none."""
        unknown = [path for path in paths if path not in self._nodes]
        if unknown:
            raise UsageError(f"read the layers {unknown}", "no such layers", "name module paths of the original")
        given = {name: torch.from_numpy(self.feed[key.removeprefix(INPUT)]) for key, name in self._inputs.items()}
        found = self._walk(given, paths, None, None)
        return {path: value.detach().numpy() for path, value in found.items()}

    def outputs(self) -> Arrays:
        """The model's outputs by name."""
        tensors = [torch.from_numpy(self.feed[spec.name]) for spec in self.program.inputs]
        with torch.inference_mode():
            answer = self.program.module(*tensors)
        return {spec.name: value.detach().numpy() for spec, value in zip(self.program.outputs, answer)}

    def alone(
        self, layer: Layer, given: Arrays, weight: Change | None = None, value: Change | None = None
    ) -> np.ndarray:
        """What a layer computes from the values of its sources, with changed weights, or values changed on the way.

        value: applied to what each member but the last computes.
        """
        named = {name: self._inputs[name] if name in self._inputs else self._nodes[name].name for name in layer.sources}
        known = {named[name]: torch.from_numpy(np.ascontiguousarray(given[name])) for name in layer.sources}
        return self._walk(known, (layer.path,), weight, value)[layer.path].detach().numpy()

    def _walk(
        self, known: dict[str, Tensor], paths: Collection[str], weight: Change | None, value: Change | None
    ) -> dict[str, Tensor]:
        """Node by node, only what is needed; a value goes when nobody reads it any more."""
        wanted = {self._nodes[path].name: path for path in paths}
        order = _needed(self.program.module.graph, set(wanted) - set(known), set(known))
        last_use = {source: node for node in order for source in node.all_input_nodes}
        done: dict[str, object] = dict(known)
        found = {path: known[name] for name, path in wanted.items() if name in known}
        with torch.inference_mode():
            for node in order:
                done[node.name] = self._compute(node, done, weight)
                if node.name in wanted:
                    found[wanted[node.name]] = done[node.name]  # type: ignore[assignment]
                elif value is not None and _is_float(node) and node.op == "call_function":
                    done[node.name] = value(done[node.name])  # type: ignore[arg-type]
                for source in node.all_input_nodes:
                    if last_use[source] is node:
                        done.pop(source.name, None)
        return found

    def _compute(self, node: fx.Node, done: Mapping[str, object], weight: Change | None) -> object:
        if node.op == "get_attr":
            found: object = self.program.module
            for part in str(node.target).split("."):
                found = getattr(found, part)
            is_weight = any(is_weighted(user) and user.args[1] is node for user in node.users)
            return weight(found) if weight is not None and is_weight else found  # type: ignore[arg-type]
        read: Callable[[fx.Node], Any] = lambda one: done[one.name]  # noqa: E731
        arguments: Any = fx.map_arg(node.args, read)
        keywords: Any = fx.map_arg(node.kwargs, read)
        return node.target(*arguments, **keywords)  # type: ignore[operator]


def _needed(graph: fx.Graph, wanted: set[str], known: set[str]) -> list[fx.Node]:
    """The nodes that must be computed for `wanted`, in order."""
    return list(_needed_backwards(graph, set(wanted), known))[::-1]


def _needed_backwards(graph: fx.Graph, wanted: set[str], known: set[str]) -> Iterator[fx.Node]:
    for node in reversed(graph.nodes):
        if node.name in wanted and node.name not in known and node.op in ("call_function", "get_attr"):
            wanted.update(source.name for source in node.all_input_nodes)
            yield node
