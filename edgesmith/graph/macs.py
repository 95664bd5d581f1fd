"""Multiply-accumulates of each operator of a program, from the shapes of its values."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import fx

from edgesmith.graph.naming import operator_name
from edgesmith.graph.operators import CONVOLUTIONS, source
from edgesmith.graph.program import Program


def layer_macs(program: Program) -> dict[str, int]:
    """Path -> multiply-accumulates for one sample, biases left out; 0 for what multiplies no matrices.

    Products of two computed matrices count too, a transposed convolution by its input.
    """
    return {path: _macs(node) for path, node in program.nodes.items()}


def _macs(node: fx.Node) -> int:
    count = _RULES.get(operator_name(node)) if node.op == "call_function" else None
    return count(node) if count is not None else 0


def _shape(node: fx.Node) -> tuple[int, ...]:
    """A value's shape; of a constant the true one, which its fake value may hold as symbols."""
    if node.op != "get_attr":
        return tuple(node.meta["val"].shape)
    value: object = node.graph.owning_module
    for part in str(node.target).split("."):
        value = getattr(value, part)
    return tuple(value.shape)  # type: ignore[attr-defined]


def _size(node: fx.Node) -> int:
    """Numbers in a value for one sample: the batch, axis 0, is left out."""
    return math.prod(int(size) for size in _shape(node)[1:])


def _convolution(node: fx.Node) -> int:
    return _size(node) * math.prod(_shape(source(node, 1))[1:])


def _transposed(node: fx.Node) -> int:
    return _size(source(node)) * math.prod(_shape(source(node, 1))[1:])


def _product(node: fx.Node) -> int:
    return _size(node) * int(_shape(source(node))[-1])


def _added_product(node: fx.Node) -> int:
    return _size(node) * int(_shape(source(node, 1))[-1])


def _attention(node: fx.Node) -> int:
    """Scores and their product with the values. Shape: queries, keys (N, ..., L, E), values (N, ..., S, D)."""
    queries, keys = (_shape(source(node, index)) for index in (0, 1))
    pairs = math.prod(int(size) for size in queries[1:-1]) * int(keys[-2])
    return pairs * (int(queries[-1]) + int(_shape(source(node, 2))[-1]))


_RULES: dict[str, Callable[[fx.Node], int]] = {
    **dict.fromkeys(CONVOLUTIONS, _convolution),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), _transposed),
    **dict.fromkeys(("linear", "matmul", "bmm", "mm"), _product),
    **dict.fromkeys(("addmm", "baddbmm"), _added_product),
    "scaled_dot_product_attention": _attention,
}
