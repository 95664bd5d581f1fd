"""Faults that are planted in the program an exporter writes: each kind, where it can be, and how it is made.

A fault is made in the program that stands between edgesmith's own preparation (batch norms folded, activations
lowered, quantize and dequantize operators inserted) and a converter, so that every format gets it by its own exporter.
`before`: in the captured program instead, before that preparation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, fx

from edgesmith.graph.naming import operator_name
from edgesmith.graph.operators import constant, is_weighted, set_constant, source
from edgesmith.graph.program import Program

aten = torch.ops.aten
Rng = np.random.Generator


@dataclass(frozen=True)
class Kind:
    """sites: the nodes it can be planted at. plant: changes the graph, and says what it did."""

    sites: Callable[[Program], list[fx.Node]]
    plant: Callable[[fx.GraphModule, fx.Node, Rng], str]
    precisions: tuple[str, ...] = ("fp32", "fp16", "int8")
    before: bool = False


def weighted(program: Program) -> list[fx.Node]:
    """Convolutions and linear layers that compute a layer of the original."""
    return [n for n in program.module.graph.nodes if _is_weighted(n) and _layer(program, n)]


def quantized(program: Program) -> list[fx.Node]:
    """Layers whose value is quantized and read again."""
    nodes = [n for n in program.module.graph.nodes if n.name in program.paths and _layer(program, n)]
    return [n for n in nodes if _dequantizers(n)]


def _layer(program: Program, node: fx.Node) -> str | None:
    return program.origin(node).layer if node.name in program.paths else None


def _is_weighted(node: fx.Node) -> bool:
    named = node.op == "call_function" and operator_name(node) in ("conv2d", "linear")
    return named and (is_weighted(node) or "dequantize" in str(source(node, 1).target))


def _dequantizers(node: fx.Node) -> list[fx.Node]:
    quantizers = [u for u in node.users if "quantize_per_tensor" in str(u.target) and "deq" not in str(u.target)]
    return [reader for one in quantizers for reader in one.users if "dequantize" in str(reader.target)]


def _value(module: fx.GraphModule, node: fx.Node) -> Tensor:
    found: object = module
    for part in str(node.target).split("."):
        found = getattr(found, part)
    return found  # type: ignore[return-value]


def _weight(module: fx.GraphModule, node: fx.Node, change: Callable[[Tensor], Tensor], rows: bool = False) -> None:
    """Change the weight (rows: and what stands beside each output channel: its scale and bias)."""
    weight = source(node, 1)
    if weight.op == "get_attr":
        _store(module, weight, change(_value(module, weight).detach().clone()))
    else:
        for index in (0, 1, 2) if rows else (0,):
            place = source(weight, index)
            _store(module, place, change(_value(module, place).detach().clone()))
    if rows and len(node.args) > 2 and isinstance(node.args[2], fx.Node):
        _store(module, node.args[2], change(_value(module, node.args[2]).detach().clone()))


def _store(module: fx.GraphModule, node: fx.Node, value: Tensor) -> None:
    """Put a value in the place of a constant that this node alone shall read."""
    name = f"planted_{node.name}"
    module.register_buffer(name, value.contiguous())
    node.target = name


def _shape(module: fx.GraphModule, node: fx.Node) -> torch.Size:
    """Of a layer's weight."""
    weight = source(node, 1)
    return _value(module, weight if weight.op == "get_attr" else source(weight)).shape


def _channel(module: fx.GraphModule, node: fx.Node, rng: Rng) -> int:
    return int(rng.integers(_shape(module, node)[0]))


def weight_scale(module: fx.GraphModule, node: fx.Node, rng: Rng) -> str:
    """One output channel's weights times a factor: in int8 by its scale alone."""
    channel, factor = _channel(module, node, rng), float(rng.choice([0.5, 0.8, 1.25, 2.0]))

    def change(value: Tensor) -> Tensor:
        value[channel] *= factor
        return value

    weight = source(node, 1)
    place = weight if weight.op == "get_attr" else source(weight, 1)
    _store(module, place, change(_value(module, place).detach().clone()))
    return f"weights of channel {channel} times {factor}"


def all_weights_scale(module: fx.GraphModule, node: fx.Node, rng: Rng) -> str:
    """Every channel's weights times a factor."""
    factor = float(rng.choice([0.8, 1.1, 1.25]))
    weight = source(node, 1)
    place = weight if weight.op == "get_attr" else source(weight, 1)
    _store(module, place, _value(module, place).detach().clone() * factor)
    return f"all weights times {factor}"


def value_scale(module: fx.GraphModule, node: fx.Node, rng: Rng) -> str:
    """The scale of a value is another one where it is read."""
    factor = float(rng.choice([0.5, 0.9, 1.1, 2.0]))
    for reader in _dequantizers(node):
        reader.args = (reader.args[0], float(reader.args[1]) * factor, *reader.args[2:])  # type: ignore[arg-type]
    return f"scale times {factor} where it is read"


def zero_point(module: fx.GraphModule, node: fx.Node, rng: Rng) -> str:
    """The zero point of a value is off by one where it is read."""
    step = int(rng.choice([-1, 1]))
    for reader in _dequantizers(node):
        low, high = int(reader.args[3]), int(reader.args[4])  # type: ignore[arg-type]
        moved = int(reader.args[2]) + step  # type: ignore[arg-type]
        step = step if low <= moved <= high else -step
        reader.args = (*reader.args[:2], int(reader.args[2]) + step, *reader.args[3:])  # type: ignore[arg-type]
    return f"zero point {step:+d} where it is read"


def clipped(module: fx.GraphModule, node: fx.Node, rng: Rng) -> str:
    """The grid is too narrow, where it is written and where it is read."""
    factor = float(rng.choice([0.1, 0.2]))
    for one in [*_dequantizers(node), *{reader.args[0] for reader in _dequantizers(node)}]:
        one.args = (one.args[0], float(one.args[1]) * factor, *one.args[2:])  # type: ignore[union-attr,arg-type]
    return f"range times {factor}"


def swapped(module: fx.GraphModule, node: fx.Node, rng: Rng) -> str:
    """Two output channels in each other's place."""
    first, second = (int(c) for c in rng.choice(_shape(module, node)[0], 2, replace=False))

    def change(value: Tensor) -> Tensor:
        value[[first, second]] = value[[second, first]]
        return value

    _weight(module, node, change, rows=True)
    return f"channels {first} and {second} swapped"


def dead(module: fx.GraphModule, node: fx.Node, rng: Rng) -> str:
    """One output channel of zeros."""
    channel = _channel(module, node, rng)

    def change(value: Tensor) -> Tensor:
        value[channel] = 0
        return value

    _weight(module, node, change)
    return f"weights of channel {channel} are zero"


def transposable(program: Program) -> list[fx.Node]:
    """Layers whose weight has the same shape when it is transposed."""
    return [node for node in weighted(program) if _axes(_shape(program.module, node)) is not None]


def _axes(shape: torch.Size) -> tuple[int, int] | None:
    if len(shape) == 4 and shape[2] == shape[3] > 1:
        return 2, 3
    return (0, 1) if shape[0] == shape[1] > 1 else None


def transposed(module: fx.GraphModule, node: fx.Node, rng: Rng) -> str:
    """The kernel's two axes, or the channels in and out, in each other's place."""
    axes = _axes(_shape(module, node))
    assert axes is not None  # a site of `transposable`
    _weight(module, node, lambda value: value.transpose(*axes))
    return f"weight transposed on axes {axes}"


def padded(program: Program) -> list[fx.Node]:
    """Convolutions with padding."""
    found = [n for n in weighted(program) if operator_name(n) == "conv2d" and len(n.args) > 4]
    return [n for n in found if min(n.args[4]) > 0]  # type: ignore[arg-type,type-var]


def padding(module: fx.GraphModule, node: fx.Node, rng: Rng) -> str:
    """All padding on one side, as TensorFlow's "same" does it with a stride."""
    above, beside = (int(p) for p in node.args[4])  # type: ignore[union-attr]
    side = bool(rng.integers(2))
    sides = [0, 2 * beside, 0, 2 * above] if side else [2 * beside, 0, 2 * above, 0]
    with module.graph.inserting_before(node):
        wider = module.graph.call_function(aten.constant_pad_nd.default, (source(node), sides, 0.0))
    node.args = (wider, *node.args[1:4], [0, 0], *node.args[5:])
    return "padding below and right only" if side else "padding above and left only"


def prelus(program: Program) -> list[fx.Node]:
    """PReLUs with a slope a channel."""
    return [n for n in program.module.graph.nodes if n.op == "call_function" and operator_name(n) == "prelu"]


def slope(module: fx.GraphModule, node: fx.Node, rng: Rng) -> str:
    """The mean slope for every channel, or the slope of one channel wrong."""
    slopes = constant(module, node, 1)
    if rng.integers(2):
        changed, said = torch.full_like(slopes, float(slopes.mean())), "one slope for every channel"
    else:
        channel = int(rng.integers(slopes.numel()))
        changed, said = slopes.clone(), f"slope of channel {channel} plus 0.3"
        changed.view(-1)[channel] += 0.3
    set_constant(module, node, 1, changed, str(source(node, 1).target))
    return said


def norms(program: Program) -> list[fx.Node]:
    """Batch norms behind a convolution."""
    nodes = [n for n in program.module.graph.nodes if n.op == "call_function" and operator_name(n) == "batch_norm"]
    return [n for n in nodes if is_weighted(source(n))]


def unfolded(module: fx.GraphModule, node: fx.Node, rng: Rng) -> str:
    """The batch norm is left out."""
    for index, value in ((1, 1.0), (2, 0.0), (3, 0.0), (4, 1.0)):
        set_constant(module, node, index, torch.full_like(constant(module, node, index), value), str(node.name))
    return "batch norm left out"


def shortened(module: fx.GraphModule, node: fx.Node, rng: Rng) -> str:
    """Weights of one layer rounded to bfloat16."""
    _weight(module, node, lambda value: value.bfloat16().float())
    return "weights in bf16"


def pools(program: Program) -> list[fx.Node]:
    """Max pools."""
    return [n for n in program.module.graph.nodes if n.op == "call_function" and operator_name(n) == "max_pool2d"]


def pooling(module: fx.GraphModule, node: fx.Node, rng: Rng) -> str:
    """An average where the maximum should be."""
    node.target = aten.avg_pool2d.default
    return "average pool in place of max pool"


KINDS = {
    "weight scale": Kind(weighted, weight_scale),
    "scale of all weights": Kind(weighted, all_weights_scale),
    "activation scale": Kind(quantized, value_scale, ("int8",)),
    "zero point off by one": Kind(quantized, zero_point, ("int8",)),
    "clipped range": Kind(quantized, clipped, ("int8",)),
    "swapped channels": Kind(weighted, swapped),
    "dead channel": Kind(weighted, dead),
    "transposed weight": Kind(transposable, transposed),
    "wrong padding": Kind(padded, padding),
    "wrong PReLU slope": Kind(prelus, slope, before=True),
    "missing BN fold": Kind(norms, unfolded, before=True),
    "bf16 weights": Kind(weighted, shortened, ("fp32", "fp16")),
    "wrong pooling": Kind(pools, pooling, ("fp32", "fp16")),
}


def planted(program: Program, kind: Kind, index: int, rng: Rng) -> tuple[Program, str, str]:
    """The program with the fault at one site, the path of the layer, and what was done."""
    module, paths, origins = program.copy()
    site = kind.sites(program)[index]
    node = next(n for n in module.graph.nodes if n.name == site.name)
    layer = program.origin(site).layer or ""
    done = kind.plant(module, node, rng)
    return program.rewritten(module, paths, origins), layer, done
