"""Which values of a program are quantized for a family, and which of them must share one grid."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from torch import fx

from edgesmith.errors import UsageError
from edgesmith.graph.naming import operator_name
from edgesmith.graph.operators import (
    MOVES_VALUES,
    activation,
    becomes_output,
    float_inputs,
    is_add,
    is_weighted,
    source,
)
from edgesmith.graph.program import Program
from edgesmith.targets import QuantRules


@dataclass(frozen=True)
class Placement:
    """layers: nodes that compute in integers. tails: the last node of each layer's fused unit, in the same order.

    values: nodes whose value is quantized, in graph order. same: value -> the value (earlier in the graph) whose
    numbers it shares. movers: value-moving operators between quantized values.
    """

    layers: tuple[fx.Node, ...]
    tails: tuple[fx.Node, ...]
    values: tuple[fx.Node, ...]
    same: Mapping[fx.Node, fx.Node]
    movers: tuple[fx.Node, ...]


def place(program: Program, rules: QuantRules, rewrites: Mapping[str, str], keep_float: Collection[str]) -> Placement:
    """Inputs of convolutions, linear layers and adds, and the outputs of these units, are quantized.

    A unit is the layer and the activation that the family fuses into it. What only moves values (pooling, reshape,
    concat) shares numbers with its inputs. Outputs of the model stay float where the family can. So does the sum that a
    transformer carries from block to block: its readers are float, and its outliers would set the step of all of it.
    keep_float: paths of layers to leave out.
    """
    nodes = [node for node in program.module.graph.nodes if node.name in program.paths]
    floats = set(keep_float) | {path for path, form in rewrites.items() if form == "affine"}
    computes = [n for n in nodes if is_weighted(n) or (is_add(n) and not _read_by_float_norm(n))]
    layers = [n for n in computes if owner(program.paths[n.name], rewrites) not in floats]
    wanted = {value for layer in layers for value in float_inputs(layer)}
    units = _lowered_units(program, rewrites) if "prelu" in rules.fuses else {}
    tails = tuple(_tail(layer, rules, units) for layer in layers)
    for tail in tails:
        ends = becomes_output(tail) and rules.float_output
        if not ends and (rules.quantize_unfused or not _read_by_activation(tail)):
            wanted.add(tail)
    if rules.fuses_sum:
        wanted -= {summand for layer in layers if (summand := _fused_summand(layer, set(tails))) is not None}
    same = _shared(nodes, wanted)
    order = [node for node in program.module.graph.nodes if node in wanted]
    movers = tuple(node for node in order if operator_name(node) in MOVES_VALUES)
    return Placement(tuple(layers), tails, tuple(order), same, movers)


def owner(path: str, rewrites: Collection[str]) -> str:
    """The path of the original's layer that a layer belongs to: the activation, for the parts of a lowered one."""
    return next((whole for whole in rewrites if path.startswith(f"{whole}.")), path)


def kept_layers(program: Program, wanted: Collection[str]) -> set[str]:
    """Paths of all layers that `wanted` names, themselves or by a module that holds them.

    A batch norm that was folded stands for the layer it was folded into.
    Raises: UsageError for a path that no operator of the program belongs to.
    """
    names = {layer: {layer, program.origin(node).layer or layer} for layer, node in program.nodes.items()}
    found: set[str] = set()
    for path in wanted:
        below = {layer for layer, own in names.items() if any(n == path or n.startswith(f"{path}.") for n in own)}
        if not below:
            reason = "no operator of the model belongs to it: there is no such layer, or it never ran"
            some = ", ".join(list(names)[:8])
            raise UsageError(f"keep {path!r} in float", reason, f"name a layer or a module that holds some: {some} ...")
        found |= below
    return found


def _tail(layer: fx.Node, rules: QuantRules, units: Mapping[fx.Node, fx.Node]) -> fx.Node:
    """The last node of the unit that starts with `layer`."""
    if layer in units:
        return units[layer]
    user = next(iter(layer.users)) if len(layer.users) == 1 else None
    return user if user is not None and activation(user) in rules.fuses else layer


def _lowered_units(program: Program, rewrites: Mapping[str, str]) -> dict[fx.Node, fx.Node]:
    """Value -> last node of the lowered PReLU that is its only reader."""
    found = {}
    for path, form in rewrites.items():
        if form == "keep":
            continue
        last = program.nodes[path]
        inside = {node for p, node in program.nodes.items() if p.startswith(f"{path}.")} | {last}
        value = source(last) if source(last) not in inside else source(source(last))
        if set(value.users) <= inside:
            found[value] = last
    return found


def _fused_summand(add: fx.Node, tails: Collection[fx.Node]) -> fx.Node | None:
    """The convolution that takes an addition into itself: the later of the operands that are one, read by it alone."""
    if not is_add(add):
        return None
    ready = [n for n in float_inputs(add) if is_weighted(n) and n in tails and len(n.users) == 1]
    same = source(add, 0).meta["val"].shape == source(add, 1).meta["val"].shape
    return ready[-1] if ready and same else None


def _read_by_float_norm(add: fx.Node) -> bool:
    """Whether a layer norm reads the sum, and no layer that computes in integers but a further sum does."""
    readers = list(add.users)
    return any(operator_name(n) == "layer_norm" for n in readers) and not any(is_weighted(n) for n in readers)


def _read_by_activation(node: fx.Node) -> bool:
    return all(activation(user) is not None for user in node.users)


def _shared(nodes: list[fx.Node], wanted: set[fx.Node]) -> dict[fx.Node, fx.Node]:
    """Pull the inputs of value-moving operators into `wanted`, and join each such operator with its inputs."""
    parent: dict[fx.Node, fx.Node] = {}

    def root(node: fx.Node) -> fx.Node:
        while node in parent:
            node = parent[node]
        return node

    position = {node: index for index, node in enumerate(next(iter(wanted)).graph.nodes)} if wanted else {}
    for node in reversed(nodes):
        if node in wanted and operator_name(node) in MOVES_VALUES:
            for value in float_inputs(node):
                wanted.add(value)
                first, second = sorted((root(node), root(value)), key=position.__getitem__)
                if first is not second:
                    parent[second] = first
    return {node: root(node) for node in parent}
