"""In-place operators of a captured graph turned into the ordinary ones, where that is safe."""

from __future__ import annotations

import torch
from torch import fx

# Their result may share memory with their input: writing into one changes the other.
_VIEWS = {
    "alias", "chunk", "detach", "diagonal", "expand", "flatten", "getitem", "narrow", "permute", "reshape", "select",
    "slice", "split", "squeeze", "swapaxes", "t", "transpose", "unbind", "unfold", "unflatten", "unsqueeze", "view",
    "view_as", "contiguous", "to", "dropout", "movedim",
}  # fmt: skip


def functionalise(module: fx.GraphModule) -> None:
    """Replace relu_, add_ and the like by relu, add: later readers of the written tensor read the new node.

    An operator that writes into a view, or into a tensor that has views, stays as it is: it is right, only opaque.
    """
    order = {node: index for index, node in enumerate(module.graph.nodes)}
    for node in list(module.graph.nodes):
        functional = _functional(node)
        if functional is None:
            continue
        written = node.args[0]
        if not isinstance(written, fx.Node) or _is_view(written) or any(_is_view(user) for user in written.users):
            continue
        node.target = functional
        for user in list(written.users):
            if order[user] > order[node]:
                user.replace_input_with(written, node)
    module.recompile()


def _functional(node: fx.Node) -> torch._ops.OpOverload | None:
    if not isinstance(node.target, torch._ops.OpOverload):
        return None
    namespace, _, name = node.target._schema.name.partition("::")
    if namespace != "aten" or not name.endswith("_") or name.endswith("__"):
        return None
    packet = getattr(torch.ops.aten, name[:-1], None)
    return getattr(packet, node.target._overloadname, None)


def _is_view(node: fx.Node) -> bool:
    if node.op == "placeholder" or node.op == "get_attr":
        return False
    name = getattr(node.target, "_schema", None)
    return (name.name.split("::")[-1] if name else getattr(node.target, "__name__", "")) in _VIEWS
