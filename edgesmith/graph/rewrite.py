"""Rewrites that leave the model's function as it is: batch norms folded, activations lowered (activations.py)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, fx

from edgesmith.errors import UsageError
from edgesmith.graph.activations import exact_forms, lower_activations
from edgesmith.graph.channels import scale_channels
from edgesmith.graph.naming import operator_name, unique
from edgesmith.graph.operators import (
    add_constant,
    aten,
    constant,
    constant_or_none,
    groups,
    is_weighted,
    set_constant,
    source,
)
from edgesmith.graph.program import Origin, Program
from edgesmith.quant import QuantPlan, rounded

__all__ = [
    "batchnorm_to_depthwise",
    "fold_batchnorm",
    "folded_norms",
    "lower_activations",
    "planned",
    "pointwise_to_linear",
    "round_weights",
    "scale_channels",
    "shift_biases",
    "simplify",
]

_RESHAPES = {"flatten", "view", "reshape", "squeeze"}


def simplify(program: Program) -> Program:
    """What every plan is made for and applied to: batch norms folded or written as depthwise convolutions, last 1x1
    convolutions as linear layers.
    """
    return pointwise_to_linear(batchnorm_to_depthwise(fold_batchnorm(program)))


def planned(program: Program, plan: QuantPlan) -> Program:
    """The float program that a plan's edges belong to: simplified, scaled, lowered, biases shifted, weights rounded
    where the plan says how.

    Raises: UsageError for a form of a PReLU that its slopes do not allow.
    """
    scaled = scale_channels(simplify(program), plan.factors)
    exact, _ = exact_forms(scaled, plan.rewrites)
    wrong = next((path for path, form in plan.rewrites.items() if exact[path] != form), None)
    if wrong is not None:
        found = "the form is wrong for its slopes above 1, and the channels cannot be flipped"
        raise UsageError(f"lower {wrong!r} as {plan.rewrites[wrong]!r}", found, "derive a plan from this model")
    return round_weights(shift_biases(lower_activations(scaled, plan.rewrites), plan.bias_shifts), plan)


def round_weights(program: Program, plan: QuantPlan) -> Program:
    """Put weights whose rounding is learned on their grid, so that everybody rounds them to the same integers.

    Raises: UsageError for a plan of another program.
    """
    if not plan.rounded_up:
        return program
    module, paths, origins = program.copy()
    nodes = {paths[node.name]: node for node in module.graph.nodes if node.name in paths}
    for path, up in plan.rounded_up.items():
        quant = plan.resolve(f"{path}:weight")
        if path not in nodes or not is_weighted(nodes[path]) or quant is None:
            raise UsageError(f"round the weights of {path}", "no such layer in this model", "derive the plan again")
        weight = rounded(constant(module, nodes[path], 1).numpy(), quant, np.asarray(up))
        set_constant(module, nodes[path], 1, torch.from_numpy(weight), str(source(nodes[path], 1).target))
    return program.rewritten(module, paths, origins)


def shift_biases(program: Program, shifts: Mapping[str, np.ndarray]) -> Program:
    """Add to the biases of layers, by path; a layer without one gets it. Raises: UsageError for no such layer."""
    if not shifts:
        return program
    module, paths, origins = program.copy()
    nodes = {paths[node.name]: node for node in module.graph.nodes if node.name in paths}
    for path, shift in shifts.items():
        if path not in nodes or not is_weighted(nodes[path]):
            raise UsageError(f"correct the bias of {path}", "no such layer in this model", "derive the plan again")
        node, old = nodes[path], constant_or_none(module, nodes[path], 2)
        more = torch.from_numpy(np.asarray(shift, np.float64))
        name = str(source(node, 1).target).removesuffix("weight") + "bias"
        set_constant(module, node, 2, more if old is None else old + more, name)
    return program.rewritten(module, paths, origins)


def fold_batchnorm(program: Program) -> Program:
    """Fold every batch norm that directly follows a convolution or linear layer into its weight and bias.

    The layer keeps its path; its value is then that of the batch norm (Program.origins). A batch norm behind
    anything else stays. Folding twice changes nothing.
    """
    if not any(_foldable(node) for node in program.module.graph.nodes):
        return program
    module, paths, origins = program.copy()
    for norm in list(module.graph.nodes):
        layer = _foldable(norm)
        if layer is not None:
            _fold(module, layer, norm)
            _hand_over(layer, norm, paths, origins)
            norm.replace_all_uses_with(source(norm))
            module.graph.erase_node(norm)
    return program.rewritten(module, paths, origins)


def folded_norms(program: Program) -> dict[str, fx.Node]:
    """Layer path -> the batch norm that fold_batchnorm folds into that layer."""
    found = ((_foldable(node), node) for node in program.module.graph.nodes)
    return {program.paths[layer.name]: norm for layer, norm in found if layer is not None}


def batchnorm_to_depthwise(program: Program) -> Program:
    """Write every batch norm of maps that is left as a depthwise 1x1 convolution, which runtimes run in integers."""
    left = [node.name for node in program.module.graph.nodes if _is_map_norm(node)]
    if not left:
        return program
    module, paths, origins = program.copy()
    for norm in [node for node in module.graph.nodes if node.name in left]:
        scale, shift = _scale_and_shift(module, norm)
        folder = str(source(norm, 3).target).removesuffix("running_mean")
        weight = add_constant(module, norm, scale.reshape(-1, 1, 1, 1), folder + "weight")
        bias = add_constant(module, norm, shift, folder + "bias")
        with module.graph.inserting_before(norm):
            arguments = (source(norm), weight, bias, [1, 1], [0, 0], [1, 1], len(scale))
            layer = module.graph.call_function(aten.conv2d.default, arguments)
        layer.meta.update(norm.meta)
        paths[layer.name] = paths.pop(norm.name)
        norm.replace_all_uses_with(layer)
        module.graph.erase_node(norm)
    return program.rewritten(module, paths, origins)


def _is_map_norm(node: fx.Node) -> bool:
    is_norm = node.op == "call_function" and operator_name(node) == "batch_norm" and not node.args[5]
    return is_norm and node.meta["val"].dim() == 4


def pointwise_to_linear(program: Program) -> Program:
    """Write a 1x1 convolution of a 1x1 map that is flattened afterwards as a linear layer with its path.

    Runtimes have an integer linear layer with a float result, but no such convolution.
    """
    if not any(_is_point(node) for node in program.module.graph.nodes):
        return program
    module, paths, origins = program.copy()
    for node in list(module.graph.nodes):
        if _is_point(node):
            _to_linear(module, node, paths, origins)
    return program.rewritten(module, paths, origins)


def _is_point(node: fx.Node) -> bool:
    if not is_weighted(node) or operator_name(node) != "conv2d" or groups(node) != 1 or not node.users:
        return False
    maps = [argument.meta["val"].shape[2:] for argument in (source(node), source(node, 1), node)]
    if any(size != 1 for shape in maps for size in shape):
        return False
    flat = [operator_name(user) in _RESHAPES and user.meta["val"].dim() == 2 for user in node.users]
    return all(flat) and all(user.meta["val"].shape[1] == node.meta["val"].shape[1] for user in node.users)


def _to_linear(module: fx.GraphModule, node: fx.Node, paths: dict[str, str], origins: dict[str, Origin]) -> None:
    flattened = list(node.users)
    name = str(source(node, 1).target)
    set_constant(module, node, 1, constant(module, node, 1).flatten(1), name)
    with module.graph.inserting_before(node):
        flat = module.graph.call_function(aten.flatten.using_ints, (source(node), 1))
        linear = module.graph.call_function(aten.linear.default, (flat, *node.args[1:3]))
    flat.meta.update(node.meta, val=aten.flatten.using_ints(source(node).meta["val"], 1))
    linear.meta.update(node.meta, val=flattened[0].meta["val"])
    paths[linear.name] = paths.pop(node.name)
    paths[flat.name] = unique(f"{paths[linear.name]}.flatten", set(paths.values()))
    layer = origins.get(flattened[0].name, Origin(paths[flattened[0].name]))
    origins.update({flat.name: Origin(None), linear.name: layer})
    for old in flattened:
        old.replace_all_uses_with(linear)
        module.graph.erase_node(old)
    module.graph.erase_node(node)


def _foldable(norm: fx.Node) -> fx.Node | None:
    """The layer that a batch norm can be folded into: its producer, also through (N, C, 1, 1) -> (N, C)."""
    if norm.op != "call_function" or operator_name(norm) != "batch_norm" or norm.args[5]:
        return None
    node = source(norm)
    while len(node.users) == 1:
        if is_weighted(node):
            return node
        if operator_name(node) not in _RESHAPES:
            return None
        old, new = source(node).meta["val"].shape, node.meta["val"].shape
        if list(old[1:2]) != list(new[1:2]) or any(size != 1 for size in (*old[2:], *new[2:])):
            return None
        node = source(node)
    return None


def _fold(module: fx.GraphModule, layer: fx.Node, norm: fx.Node) -> None:
    weight, bias = constant(module, layer, 1), constant_or_none(module, layer, 2)
    scale, shift = _scale_and_shift(module, norm)
    name = str(source(layer, 1).target)
    set_constant(module, layer, 1, weight * scale.reshape(-1, *[1] * (weight.dim() - 1)), name)
    set_constant(
        module, layer, 2, shift if bias is None else bias * scale + shift, name.removesuffix("weight") + "bias"
    )


def _scale_and_shift(module: fx.GraphModule, norm: fx.Node) -> tuple[Tensor, Tensor]:
    """A batch norm as scale * x + shift, channel by channel."""
    gamma, beta = constant_or_none(module, norm, 1), constant_or_none(module, norm, 2)
    mean, var = constant(module, norm, 3), constant(module, norm, 4)
    scale = (var + float(norm.args[7])).rsqrt()  # type: ignore[arg-type]
    scale = scale if gamma is None else scale * gamma
    return scale, -mean * scale if beta is None else beta - mean * scale


def _hand_over(layer: fx.Node, norm: fx.Node, paths: dict[str, str], origins: dict[str, Origin]) -> None:
    """The layer's value is now the batch norm's, and so is that of a reshape in between."""
    value, node = Origin(paths.pop(norm.name)), source(norm)
    origins[layer.name] = value if node is layer else Origin(None)
    while node is not layer:
        origins[node.name] = value
        node = source(node)
