"""What the operators of a captured graph are to edgesmith, and access to the constants they use."""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn

from edgesmith.graph.naming import operator_name, unique

aten = torch.ops.aten

CONVOLUTIONS = {"conv1d", "conv2d", "conv3d"}
# Several spellings of one activation: what a family may fuse is listed under the name on the right.
ACTIVATIONS = {
    "relu": "relu",
    "relu6": "clip",
    "hardtanh": "clip",
    "clamp": "clip",
    "prelu": "prelu",
    "leaky_relu": "leaky_relu",
    "silu": "silu",
    "hardswish": "hardswish",
    "hardsigmoid": "hardsigmoid",
    "sigmoid": "sigmoid",
    "tanh": "tanh",
    "elu": "elu",
    "gelu": "gelu",
    "mish": "mish",
}
# The output holds values of the input and nothing else (zero included, which every grid can hold).
MOVES_VALUES = {
    "max_pool1d", "max_pool2d", "max_pool3d", "adaptive_max_pool2d", "flatten", "view", "reshape", "squeeze",
    "unsqueeze", "permute", "transpose", "t", "slice", "select", "narrow", "contiguous", "clone", "dropout",
    "feature_dropout", "cat", "concat", "pad", "constant_pad_nd", "pixel_shuffle", "channel_shuffle",
    "upsample_nearest2d", "expand", "detach", "alias", "numpy_T", "movedim", "unflatten", "repeat",
}  # fmt: skip
# The output is the input, once the model is in eval mode.
KEEPS_VALUE = {"dropout", "feature_dropout", "contiguous", "clone", "detach", "alias"}


def is_weighted(node: fx.Node) -> bool:
    """Whether the node is a convolution or linear layer with a constant weight."""
    if node.op != "call_function" or operator_name(node) not in CONVOLUTIONS | {"linear"}:
        return False
    return source(node, 1).op == "get_attr"


def is_convolution(node: fx.Node) -> bool:
    """Whether the node is a convolution, whatever its weight is."""
    return node.op == "call_function" and operator_name(node) in CONVOLUTIONS


def groups(node: fx.Node) -> int:
    """The number of groups of a weighted layer."""
    return int(node.args[6]) if is_convolution(node) and len(node.args) > 6 else 1  # type: ignore[arg-type]


def activation(node: fx.Node) -> str | None:
    """The kind of activation, under the name families use; None for any other operator."""
    return ACTIVATIONS.get(operator_name(node)) if node.op == "call_function" else None


def is_norm_of_features(node: fx.Node) -> bool:
    """Whether the node is a layer norm with weights over the last axis of tokens or of maps that end in channels."""
    if node.op != "call_function" or operator_name(node) != "layer_norm" or node.meta["val"].dim() < 3:
        return False
    weight = argument(node, 2)
    return weight is not None and weight.op == "get_attr" and len(node.args[1]) == 1  # type: ignore[arg-type]


def channel_axis(node: fx.Node) -> int:
    """The axis that counts the channels of a node's value: 1, but the last one of a norm of features."""
    while node.op == "call_function" and operator_name(node) in KEEPS_VALUE and argument(node, 0) is not None:
        node = source(node)
    return node.meta["val"].dim() - 1 if is_norm_of_features(node) else 1


def is_add(node: fx.Node) -> bool:
    """Whether the node adds two computed float tensors, unscaled."""
    if node.op != "call_function" or operator_name(node) != "add" or node.kwargs.get("alpha", 1) != 1:
        return False
    operands = [argument(node, index) for index in (0, 1)]
    return all(arg is not None and arg.op != "get_attr" and is_float(arg) for arg in operands)


def is_float(node: fx.Node) -> bool:
    """Whether the node's value is one tensor of floating-point numbers."""
    value = node.meta.get("val")
    return isinstance(value, Tensor) and value.is_floating_point()


def float_inputs(node: fx.Node) -> list[fx.Node]:
    """The computed float tensors a node reads, once each, in order; constants are left out."""
    return [arg for arg in node.all_input_nodes if arg.op != "get_attr" and is_float(arg)]


def feeds_output(node: fx.Node) -> bool:
    """Whether the node's value is an output of the model."""
    return any(user.op == "output" for user in node.users)


def becomes_output(node: fx.Node) -> bool:
    """Whether an output of the model holds the node's value, as it is or reshaped."""
    return feeds_output(node) or any(
        user.op == "call_function" and operator_name(user) in MOVES_VALUES and becomes_output(user)
        for user in node.users
    )


def argument(node: fx.Node, index: int) -> fx.Node | None:
    """The node at one position of another's arguments, or None."""
    found = node.args[index] if len(node.args) > index else None
    return found if isinstance(found, fx.Node) else None


def source(node: fx.Node, index: int = 0) -> fx.Node:
    """The node at one position of another's arguments. Raises: TypeError where there is none."""
    found = argument(node, index)
    if found is None:
        raise TypeError(f"argument {index} of {node.name} is not a node")
    return found


def constant(module: fx.GraphModule, node: fx.Node, index: int) -> Tensor:
    """A constant that `node` reads at one position, in float64 so that rewrites round once."""
    value: object = module
    node = source(node, index)
    for part in str(node.target).split("."):
        value = getattr(value, part)
    if not isinstance(value, Tensor):
        raise TypeError(f"{node.target} is not a tensor")
    return value.detach().double()


def constant_or_none(module: fx.GraphModule, node: fx.Node, index: int) -> Tensor | None:
    """As `constant`, None where the argument is absent (a layer without bias)."""
    return None if argument(node, index) is None else constant(module, node, index)


def set_constant(module: fx.GraphModule, user: fx.Node, index: int, value: Tensor, name: str) -> None:
    """Make argument `index` of `user` the constant `value` (float32); other users of the old one keep it."""
    old = argument(user, index)
    if old is not None and len(old.users) == 1 and _sole(module, old):
        holder, leaf = _holder(module, str(old.target))
        delattr(holder, leaf)
        name = str(old.target)
    args = [*user.args, *[None] * (index + 1 - len(user.args))]
    args[index] = add_constant(module, user, value, name)
    user.args = tuple(args)
    if old is not None and not old.users:
        module.graph.erase_node(old)


def _sole(module: fx.GraphModule, node: fx.Node) -> bool:
    return sum(other.target == node.target for other in module.graph.find_nodes(op="get_attr")) == 1


def _holder(module: nn.Module, name: str) -> tuple[nn.Module, str]:
    folder, _, leaf = name.rpartition(".")
    for part in filter(None, folder.split(".")):
        child = getattr(module, part, None)
        if not isinstance(child, nn.Module):
            child = nn.Module()
            module.add_module(part, child)
        module = child
    return module, leaf


def add_constant(module: fx.GraphModule, before: fx.Node, value: Tensor, name: str) -> fx.Node:
    """A new get_attr node holding `value` as a float32 parameter called `name`, or name_1 and so on."""
    holder, leaf = _holder(module, name)
    parameter = nn.Parameter(value.float().contiguous(), requires_grad=False)
    free = unique(leaf, set(dir(holder)))
    holder.register_parameter(free, parameter)
    with module.graph.inserting_before(before):
        node = module.graph.get_attr(name.removesuffix(leaf) + free)
    node.meta["val"] = before.meta["val"].fake_mode.from_tensor(parameter)
    return node
