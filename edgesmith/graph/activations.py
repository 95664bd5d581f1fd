"""PReLU written with operators that a runtime executes well, exactly the same function in float.

With slope a per channel: PReLU_a(z) = max(z, a z) = z + relu(-(1 - a) z), both for a <= 1 only, = a z + (1 - a) relu(z)
for every a. Channels with |a| > 1 are flipped first: PReLU_a(z) = -a PReLU_{1/a}(-z), where the layer before takes the
inner minus and the layers behind take the factor -a.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, fx

from edgesmith.errors import UsageError
from edgesmith.graph.channels import scale_inputs, scale_outputs
from edgesmith.graph.naming import operator_name, unique
from edgesmith.graph.operators import (
    add_constant,
    argument,
    aten,
    constant,
    feeds_output,
    is_weighted,
    source,
)
from edgesmith.graph.program import Origin, Program

Form = Literal["keep", "max", "affine", "depthwise"]
log = logging.getLogger(__name__)


@dataclass
class _Edit:
    """A graph under rewriting."""

    module: fx.GraphModule
    paths: dict[str, str]
    origins: dict[str, Origin]


def exact_forms(program: Program, forms: Mapping[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """The forms that are exact with the slopes at hand, and a note for each one that had to become "affine".

    Raises: UsageError for a path that is no PReLU, or a form there is not.
    """
    nodes, resolved, notes = program.nodes, {}, []
    for path, form in forms.items():
        _check_form(nodes, path, form)
        resolved[path] = form
        slopes = constant(program.module, nodes[path], 1)
        if form in ("max", "depthwise") and bool((slopes > 1).any()) and not _can_flip(nodes[path]):
            resolved[path] = "affine"
            notes.append(
                f"{path}: form {form!r} is wrong for its slopes above 1 and the channels cannot be flipped; "
                "lowered as 'affine', which stays partly in float"
            )
    return resolved, tuple(notes)


def lower_activations(program: Program, forms: Mapping[str, str]) -> Program:
    """Write each PReLU named in `forms` in its form; "affine" where another would not be exact (exact_forms).

    The last node of a form bears the activation's path, the others a path below it ("act.scaled"). Flipping scales
    the values of the layer before and of the activation: Program.origins says by how much.
    """
    resolved, notes = exact_forms(program, forms)
    for note in notes:
        log.info(note)
    if all(form == "keep" for form in resolved.values()):
        return program
    edit = _Edit(*program.copy())
    by_path = {edit.paths[node.name]: node for node in edit.module.graph.nodes if node.name in edit.paths}
    for path, form in resolved.items():
        if form != "keep":
            _lower(edit, by_path[path], form)
    return program.rewritten(edit.module, edit.paths, edit.origins)


def prelu_paths(program: Program) -> list[str]:
    """Paths of the PReLU activations, in graph order."""
    return [path for path, node in program.nodes.items() if operator_name(node) == "prelu"]


def _check_form(nodes: Mapping[str, fx.Node], path: str, form: str) -> None:
    asked = f"lower {path!r} as {form!r}"
    if form not in get_args(Form):
        raise UsageError(asked, "no such form", f"choose from: {', '.join(get_args(Form))}")
    if path not in nodes or operator_name(nodes[path]) != "prelu":
        raise UsageError(asked, "no PReLU of that path in the program", "name one of its PReLU activations")


def _can_flip(node: fx.Node) -> bool:
    """Whether a layer before can take a change of sign and every layer behind a factor a channel."""
    before = source(node)
    if not is_weighted(before) or len(before.users) != 1 or feeds_output(node):
        return False
    wants = before.meta["val"].dim()
    linear_on_map = any(operator_name(user) == "linear" and wants != 2 for user in node.users)
    return all(is_weighted(user) and argument(user, 0) is node for user in node.users) and not linear_on_map


def _lower(edit: _Edit, node: fx.Node, form: str) -> None:
    channels = node.meta["val"].shape[1]
    slopes = constant(edit.module, node, 1).expand(channels).clone()
    if form in ("max", "depthwise") and bool((slopes.abs() > 1).any()) and _can_flip(node):
        slopes = _flip(edit, node, slopes)
    build = {"max": _max, "affine": _affine, "depthwise": _depthwise}[form]
    with edit.module.graph.inserting_before(node):
        last = build(edit, node, slopes)
    edit.paths[last.name] = edit.paths.pop(node.name)
    if node.name in edit.origins:
        edit.origins[last.name] = edit.origins.pop(node.name)
    node.replace_all_uses_with(last)
    edit.module.graph.erase_node(node)


def _flip(edit: _Edit, node: fx.Node, slopes: Tensor) -> Tensor:
    """Flip the channels with |slope| > 1; returns the new slopes, all within -1..1."""
    flipped = slopes.abs() > 1
    sign = torch.where(flipped, -1.0, 1.0).double()
    gain = torch.where(flipped, -slopes, torch.ones_like(slopes))
    before = source(node)
    scale_outputs(edit.module, before, sign)
    for user in list(node.users):
        scale_inputs(edit.module, user, gain)
    _scaled(edit, before, sign)
    _scaled(edit, node, 1 / gain)
    return torch.where(flipped, 1 / slopes, slopes)


def _scaled(edit: _Edit, node: fx.Node, factor: Tensor) -> None:
    old = edit.origins.get(node.name) or Origin(edit.paths[node.name])
    total = factor.numpy() if old.factor is None else old.factor * factor.numpy()
    edit.origins[node.name] = Origin(old.layer, total)


def _new(edit: _Edit, like: fx.Node, name: str, target: Any, *args: Any) -> fx.Node:
    """A node computing a tensor of the shape of `like`, inserted before it, with a path below its path."""
    node = edit.module.graph.call_function(target, args)
    for key in ("val", "nn_module_stack", "stack_trace"):
        if key in like.meta:
            node.meta[key] = like.meta[key]
    edit.paths[node.name] = unique(f"{edit.paths[like.name]}.{name}", set(edit.paths.values()))
    edit.origins[node.name] = Origin(None)
    return node


def _last(edit: _Edit, node: fx.Node) -> fx.Node:
    """Mark `node` as the one that takes the activation's place."""
    del edit.paths[node.name], edit.origins[node.name]
    return node


def _channelwise(edit: _Edit, node: fx.Node, values: Tensor, name: str) -> fx.Node:
    """A constant that broadcasts over the node's channels (axis 1)."""
    shape = (-1, *[1] * (node.meta["val"].dim() - 2))
    return add_constant(edit.module, node, values.reshape(shape), f"{source(node, 1).target}_{name}")


def _max(edit: _Edit, node: fx.Node, slopes: Tensor) -> fx.Node:
    x = source(node)
    scaled = _new(edit, node, "scaled", aten.mul.Tensor, x, _channelwise(edit, node, slopes, "slope"))
    return _last(edit, _new(edit, node, "last", aten.maximum.default, x, scaled))


def _affine(edit: _Edit, node: fx.Node, slopes: Tensor) -> fx.Node:
    x = source(node)
    scaled = _new(edit, node, "scaled", aten.mul.Tensor, x, _channelwise(edit, node, slopes, "slope"))
    relu = _new(edit, node, "relu", aten.relu.default, x)
    rest = _new(edit, node, "rest", aten.mul.Tensor, relu, _channelwise(edit, node, 1 - slopes, "rest"))
    return _last(edit, _new(edit, node, "last", aten.add.Tensor, scaled, rest))


def _depthwise(edit: _Edit, node: fx.Node, slopes: Tensor) -> fx.Node:
    x, channels = source(node), len(slopes)
    if node.meta["val"].dim() == 4:
        name = f"{source(node, 1).target}_depthwise"
        weight = add_constant(edit.module, node, (slopes - 1).reshape(channels, 1, 1, 1), name)
        options = (None, [1, 1], [0, 0], [1, 1], channels)
        scaled = _new(edit, node, "scaled", aten.conv2d.default, x, weight, *options)
    else:
        scaled = _new(edit, node, "scaled", aten.mul.Tensor, x, _channelwise(edit, node, slopes - 1, "depthwise"))
    relu = _new(edit, node, "relu", aten.relu.default, scaled)
    return _last(edit, _new(edit, node, "last", aten.add.Tensor, x, relu))
