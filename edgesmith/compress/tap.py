"""What a layer inside a net gives, taken while the net runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from edgesmith.errors import UsageError


def layer_at(net: nn.Module, path: str, role: str) -> nn.Module:
    """The layer of a path such as "body.blocks". Raises: UsageError, naming the role of the net."""
    try:
        return net.get_submodule(path)
    except AttributeError as error:
        known = ", ".join(name for name, _ in list(net.named_modules())[1:12])
        raise UsageError(f"compare layer {path!r}", f"the {role} has none", f"choose one of: {known}, ...") from error


@contextmanager
def tapped(net: nn.Module, path: str) -> Iterator[list[Tensor]]:
    """A block in which the list gets the layer's output each time the net runs; an empty path takes nothing."""
    found: list[Tensor] = []
    if not path:
        yield found
        return

    def take(module: nn.Module, args: Any, output: Tensor) -> None:
        found.append(output)

    hook = layer_at(net, path, "net").register_forward_hook(take)
    try:
        yield found
    finally:
        hook.remove()
