"""Whether a captured model answers the same twice; one that does not can be compared with nothing."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

from edgesmith.errors import UsageError
from edgesmith.graph.program import Program

CLOSE = 1e-4  # of the largest value: sums in another order differ by less


def check_repeatable(program: Program) -> None:
    """Run the model twice on its example. Raises: UsageError naming the first layer that answers anew each time."""
    with torch.inference_mode():
        first, second = program.module(*program.example), program.module(*program.example)
    if all(_same(a, b) for a, b in zip(first, second)):
        return
    where = _first_different(program)
    found = f"{where} answers differently each time, in eval mode too" if where else "it answers differently each time"
    todo = "switch it off: no dropout, noise or counter may be on when it answers"
    raise UsageError("run the original twice on the same input", found, todo)


def _first_different(program: Program) -> str:
    runs = [_Watcher(program.module), _Watcher(program.module)]
    with torch.inference_mode():
        for run in runs:
            run.run(*program.example, enable_io_processing=False)
    for node in program.module.graph.nodes:
        if not _same(*(run.seen.get(node.name) for run in runs)):
            return program.paths.get(node.name, node.name)
    return ""


class _Watcher(fx.Interpreter):
    """Keeps what every node computes."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.seen: dict[str, Any] = {}

    def run_node(self, node: fx.Node) -> Any:
        value = super().run_node(node)
        if node.op == "call_function":
            self.seen[node.name] = value
        return value


def _same(first: Any, second: Any) -> bool:
    if isinstance(first, (tuple, list)) and isinstance(second, (tuple, list)):
        return all(_same(a, b) for a, b in zip(first, second))
    if not isinstance(first, Tensor) or not isinstance(second, Tensor):
        return True
    if not first.is_floating_point():
        return torch.equal(first, second)
    size = float(first.abs().nan_to_num(0.0, 0.0, 0.0).max()) if first.numel() else 0.0
    return torch.allclose(first, second, rtol=0.0, atol=CLOSE * size, equal_nan=True)
