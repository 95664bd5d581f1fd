"""The user's names for the nodes of an exported graph."""

from __future__ import annotations

import re
from collections.abc import Callable, Container

import torch
from torch import fx, nn

_PREFIX = re.compile(r"^(L\['self'\]|L__self__)\.?")


def module_paths(graph: fx.Graph, is_leaf: Callable[[str], bool]) -> dict[str, str]:
    """A unique path for every node that computes a tensor.

    The last node of a leaf module's call bears the module's path; every other one its module and operator
    ("block.add", then "block.add_1"). A module called twice gives "relu" and "relu_1".
    """
    nodes = [node for node in graph.nodes if node.op == "call_function" and computes_tensor(node)]
    last_of_call: dict[str, fx.Node] = {}
    for node in nodes:
        if (path := _module(node)) and is_leaf(path):
            last_of_call[_call(node)] = node
    found: dict[str, str] = {}
    for node in last_of_call.values():
        found[node.name] = unique(_module(node), set(found.values()))
    for node in nodes:
        if node.name not in found:
            name = ".".join(filter(None, (_module(node), operator_name(node))))
            found[node.name] = unique(name, set(found.values()))
    return {node.name: found[node.name] for node in nodes}


def leaves_of(module: nn.Module) -> Callable[[str], bool]:
    """Whether a path of `module` names a module without children."""

    def is_leaf(path: str) -> bool:
        try:
            return next(module.get_submodule(path).children(), None) is None
        except AttributeError:
            return False

    return is_leaf


def operator_name(node: fx.Node) -> str:
    """The bare name of the node's operator: "add" for aten.add.Tensor."""
    if isinstance(node.target, torch._ops.OpOverload):
        return node.target._schema.name.split("::")[-1].rstrip("_")
    return getattr(node.target, "__name__", str(node.target))


def computes_tensor(node: fx.Node) -> bool:
    """Whether the node's value is one tensor (not a size, not a tuple)."""
    return isinstance(node.meta.get("val"), torch.Tensor)


def unique(name: str, taken: Container[str]) -> str:
    """`name`, or the first of name_1, name_2 ... that is not taken."""
    candidate, count = name, 0
    while candidate in taken:
        count += 1
        candidate = f"{name}_{count}"
    return candidate


def _stack(node: fx.Node) -> tuple[str, str]:
    """Key (a repeated call is marked by "@1") and path of the innermost module that torch.export recorded."""
    stack: dict[str, tuple[str, object]] = node.meta.get("nn_module_stack") or {"": ("", None)}
    key = list(stack)[-1]
    return key, stack[key][0]


def _call(node: fx.Node) -> str:
    return _stack(node)[0]


def _module(node: fx.Node) -> str:
    return _PREFIX.sub("", _stack(node)[1])
