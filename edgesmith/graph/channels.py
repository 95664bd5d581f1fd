"""Groups of values whose channels can be scaled together without changing what the model computes.

Between a layer that makes a value and the layers that read it stand only operators f with f(s x) = s f(x) for s > 0,
channel by channel: so the makers can take a factor a channel and the readers its inverse. A layer norm makes a value
too: its weight and bias take the factor, the linear layers that read it the inverse.
Source: Nagel et al. 2019, arXiv 1906.04721 (cross-layer equalisation); of norms Xiao et al. 2022, arXiv 2211.10438.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, fx

from edgesmith.errors import UsageError
from edgesmith.graph.naming import operator_name
from edgesmith.graph.operators import (
    KEEPS_VALUE,
    activation,
    argument,
    channel_axis,
    constant,
    constant_or_none,
    feeds_output,
    groups,
    is_add,
    is_float,
    is_norm_of_features,
    is_weighted,
    set_constant,
    source,
)
from edgesmith.graph.program import Origin, Program

_HOMOGENEOUS = {
    "relu", "prelu", "leaky_relu", "max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "adaptive_max_pool2d",
    *KEEPS_VALUE,
}  # fmt: skip
_FLATTENS = {"flatten", "view", "reshape", "squeeze"}


@dataclass(frozen=True)
class ChannelGroup:
    """Values (N, C, ...), or (N, ..., C) of a norm, that keep one factor a channel.

    name: path of the first layer that makes one. axis: which one counts the channels.

    ceiling: the upper bound of the clips (ReLU6) inside, None without. A clip is no homogeneous function: a factor is
    exact only where no value of the channel reaches the ceiling, before or after.
    """

    name: str
    makers: tuple[fx.Node, ...]
    readers: tuple[fx.Node, ...]
    values: tuple[fx.Node, ...]
    ceiling: float | None

    @property
    def axis(self) -> int:
        return channel_axis(self.makers[0])

    @property
    def channels(self) -> int:
        return int(self.makers[0].meta["val"].shape[self.axis])


def channel_groups(program: Program) -> tuple[ChannelGroup, ...]:
    """Every group of a program, in graph order."""
    order = [node for node in program.module.graph.nodes if node.name in program.paths or node.op == "placeholder"]
    parent: dict[fx.Node, fx.Node] = {}

    def root(node: fx.Node) -> fx.Node:
        while node in parent:
            node = parent[node]
        return node

    for node in order:
        for value in _passed_through(node):
            if root(value) is not root(node):
                parent[root(node)] = root(value)
    members: dict[fx.Node, list[fx.Node]] = {}
    for node in order:
        members.setdefault(root(node), []).append(node)
    found = (_group(program, nodes) for nodes in members.values())
    return tuple(group for group in found if group is not None)


def scale_channels(program: Program, factors: Mapping[str, np.ndarray]) -> Program:
    """Multiply the values of groups, by name, with factors (C,) above 0; Program.origins tells of it.

    Raises: UsageError for a group that is not there or factors that do not fit.
    """
    if not factors:
        return program
    module, paths, origins = program.copy()
    copied = program.rewritten(module, paths, origins)
    by_name = {group.name: group for group in channel_groups(copied)}
    marks = dict(copied.origins)
    for name, values in factors.items():
        group = by_name.get(name)
        _check(name, group, values)
        assert group is not None
        factor = torch.from_numpy(np.asarray(values, np.float64))
        for maker in group.makers:
            scale_outputs(copied.module, maker, factor)
        for reader in group.readers:
            scale_inputs(copied.module, reader, 1 / factor)
        for node in group.values:
            old = marks.get(node.name) or Origin(copied.paths[node.name])
            whole = factor.numpy() if old.factor is None else old.factor * factor.numpy()
            marks[node.name] = Origin(old.layer, whole, group.axis)
    return copied.rewritten(copied.module, copied.paths, marks)


def scale_outputs(module: fx.GraphModule, layer: fx.Node, factor: Tensor) -> None:
    """Multiply the output channels of a layer, or of a norm of features. Shape: factor (C,)."""
    at = 2 if is_norm_of_features(layer) else 1
    weight, bias = constant(module, layer, at), constant_or_none(module, layer, at + 1)
    scaled = weight * factor.reshape(-1, *[1] * (weight.dim() - 1))
    set_constant(module, layer, at, scaled, str(source(layer, at).target))
    if bias is not None:
        set_constant(module, layer, at + 1, bias * factor, str(source(layer, at + 1).target))


def scale_inputs(module: fx.GraphModule, layer: fx.Node, factor: Tensor) -> None:
    """Multiply the weights that read each input channel. Shape: factor (C,)."""
    weight, count = constant(module, layer, 1), groups(layer)
    by_group = weight.reshape(count, weight.shape[0] // count, weight.shape[1], -1)
    scaled = by_group * factor.reshape(count, 1, weight.shape[1], 1)
    set_constant(module, layer, 1, scaled.reshape(weight.shape), str(source(layer, 1).target))


def _passed_through(node: fx.Node) -> list[fx.Node]:
    """The inputs whose channels the node's value keeps, factor and all."""
    if node.op != "call_function" or not is_float(node):
        return []
    if is_add(node):
        inputs = [source(node, 0), source(node, 1)]
        return inputs if all(value.meta["val"].shape == node.meta["val"].shape for value in inputs) else []
    name, first = operator_name(node), argument(node, 0)
    if first is None or not is_float(first) or len(first.meta["val"].shape) < 2:
        return []
    if name in _HOMOGENEOUS or (activation(node) == "clip" and _ceiling(node) is not None):
        return [first]
    return [first] if name in _FLATTENS and _only_drops_ones(first, node) else []


def _only_drops_ones(before: fx.Node, node: fx.Node) -> bool:
    old, new = before.meta["val"].shape, node.meta["val"].shape
    same = len(new) > 1 and isinstance(new[1], int) and old[1] == new[1]
    return same and all(size == 1 for size in (*old[2:], *new[2:]))


def _ceiling(node: fx.Node) -> float | None:
    """The upper bound of a clip whose lower bound is 0."""
    if operator_name(node) == "relu6":
        return 6.0
    bounds = [*node.args[1:3], *node.kwargs.values()]
    if operator_name(node) == "hardtanh" and len(bounds) == 2 and bounds[0] == 0:
        return float(bounds[1])  # type: ignore[arg-type]
    return None


def _group(program: Program, nodes: list[fx.Node]) -> ChannelGroup | None:
    inside = set(nodes)
    makers = [node for node in nodes if not set(_passed_through(node)) & inside]
    # A maker may read a value of its own group: the one layer of a residual branch, whose sum keeps the factor.
    readers = [user for node in nodes for user in node.users if user not in inside or node not in _passed_through(user)]
    if any(map(is_norm_of_features, nodes)):
        return _norm_group(program, nodes, makers, readers)
    if not readers or not all(is_weighted(node) and _by_channel(node) for node in makers):
        return None
    if any(feeds_output(node) for node in nodes) or not all(_reads_channels(node, inside) for node in readers):
        return None
    ceilings = [ceiling for node in nodes if activation(node) == "clip" and (ceiling := _ceiling(node)) is not None]
    ceiling = min(ceilings) if ceilings else None
    unique = tuple(dict.fromkeys(readers))
    return ChannelGroup(program.paths[makers[0].name], tuple(makers), unique, tuple(nodes), ceiling)


def _norm_group(
    program: Program, nodes: list[fx.Node], makers: list[fx.Node], readers: list[fx.Node]
) -> ChannelGroup | None:
    """A norm, what keeps its value as it is, and the linear layers that read its features."""
    alone = len(makers) == 1 and all(operator_name(node) in KEEPS_VALUE for node in nodes if node is not makers[0])
    linear = [is_weighted(node) and operator_name(node) == "linear" and argument(node, 0) in nodes for node in readers]
    if not alone or not readers or not all(linear) or any(feeds_output(node) for node in nodes):
        return None
    return ChannelGroup(program.paths[makers[0].name], (makers[0],), tuple(dict.fromkeys(readers)), tuple(nodes), None)


def _by_channel(node: fx.Node) -> bool:
    """Whether a layer's output channels lie on axis 1."""
    return operator_name(node) != "linear" or node.meta["val"].dim() == 2


def _reads_channels(node: fx.Node, inside: set[fx.Node]) -> bool:
    """Whether a node is a layer that reads one of these values as its input, channels on axis 1."""
    if node.op != "call_function" or not is_weighted(node) or argument(node, 0) not in inside:
        return False
    return operator_name(node) != "linear" or source(node).meta["val"].dim() == 2


def _check(name: str, group: ChannelGroup | None, factor: np.ndarray) -> None:
    asked = f"scale the channels behind {name}"
    if group is None:
        raise UsageError(asked, "no such group of values in this model", "derive the plan from this model")
    if factor.shape != (group.channels,) or not (np.isfinite(factor).all() and (factor > 0).all()):
        found = f"factors of shape {factor.shape}, {group.channels} channels"
        raise UsageError(asked, found, "give one finite factor above 0 a channel")
