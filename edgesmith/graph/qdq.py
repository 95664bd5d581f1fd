"""From a plan to a program that carries it: quantize and dequantize operators with the plan's numbers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import fx

from edgesmith.errors import EdgesmithError, UsageError
from edgesmith.graph.annotate import PlanQuantizer
from edgesmith.graph.operators import is_weighted, source
from edgesmith.graph.program import Program, check_program
from edgesmith.graph.quiet import import_noise_hushed
from edgesmith.graph.rewrite import planned
from edgesmith.quant import BiasOf, EdgeQuant, QuantPlan
from edgesmith.targets import check_plan, rules_of

with import_noise_hushed():
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

_ops = torch.ops.quantized_decomposed
_PER_TENSOR = (_ops.quantize_per_tensor.default, _ops.dequantize_per_tensor.default)
_WEIGHT = _ops.dequantize_per_channel.default


def apply_plan(program: Program, plan: QuantPlan) -> Program:
    """The program with `plan` in it: rewritten as the plan says (graph/rewrite.py), quantize/dequantize inserted.

    No calibration is run, and afterwards every number in the graph is compared with the plan's. An int32 bias
    (BiasOf) is left to the exporter: not every target takes one.
    Raises: UsageError for a plan that its family forbids, that was derived from another model, or that names edges the
    program lacks.
    """
    check_plan(plan)
    check_program(program, plan)
    lowered = planned(program, plan)
    module, paths, origins = lowered.copy()
    nodes = edge_nodes(lowered, module)
    _check_edges(plan, nodes)
    prepared = prepare_pt2e(module, PlanQuantizer(plan, nodes))
    converted = convert_pt2e(prepared)
    result = lowered.rewritten(converted, paths, origins)
    _check_numbers(plan, result)
    return result


def edge_nodes(program: Program, module: fx.GraphModule | None = None) -> dict[str, fx.Node]:
    """Edge name -> node: values of inputs and layers, and the weights of layers."""
    graph = (module or program.module).graph
    by_name = {node.name: node for node in graph.nodes}
    found = {edge: by_name[node.name] for edge, node in program.edges()}
    for name, path in program.paths.items():
        if is_weighted(by_name[name]):
            found[f"{path}:weight"] = source(by_name[name], 1)
    return found


def _check_edges(plan: QuantPlan, nodes: Mapping[str, fx.Node]) -> None:
    unknown = [edge for edge, how in plan.edges.items() if edge not in nodes and not isinstance(how, BiasOf)]
    if unknown:
        raise UsageError(
            f"apply a {plan.family} plan", f"the program has no edge {unknown[0]!r}", "derive the plan from this model"
        )


def _check_numbers(plan: QuantPlan, result: Program) -> None:
    """Every edge of the plan is quantized with its own numbers, and nothing else is quantized."""
    by_path = result.nodes
    inputs = dict(
        zip((f"input:{spec.name}" for spec in result.inputs), result.module.graph.find_nodes(op="placeholder"))
    )
    expected, outputs = 0, not rules_of(plan.family).float_output
    for edge, how in plan.edges.items():
        quant = plan.resolve(edge)
        if quant is None or isinstance(how, BiasOf):
            continue
        path, _, kind = edge.rpartition(":")
        if kind == "weight":
            _check_weight(edge, quant, result.module, by_path[path])
        else:
            node = inputs[edge] if edge in inputs else by_path[path]
            expected += _check_value(edge, quant, node, outputs)
    found = sum(node.target is _PER_TENSOR[0] for node in result.module.graph.nodes)
    if found != expected:
        raise _mismatch("all edges", f"{found} quantize operators where the plan has {expected}")


def _check_value(edge: str, quant: EdgeQuant, node: fx.Node, outputs: bool) -> int:
    """How many quantize operators stand behind `node`: one, or none when nobody reads it but a float output."""
    behind = [user for user in node.users if user.target is _PER_TENSOR[0]]
    readers = [user for user in node.users if outputs or user.op != "output"]
    if len(behind) != len(readers) or len(behind) > 1:
        raise _mismatch(edge, f"{len(behind)} quantize operators for {len(readers)} readers")
    wanted = (float(quant.scale), int(quant.zero_point), quant.spec.qmin, quant.spec.qmax)
    for operator in [*behind, *(reader for first in behind for reader in first.users)]:
        if operator.target not in _PER_TENSOR or tuple(operator.args[1:5]) != wanted:
            raise _mismatch(edge, f"{operator.args[1:5]} where the plan has {wanted}")
    return len(behind)


def _check_weight(edge: str, quant: EdgeQuant, module: fx.GraphModule, layer: fx.Node) -> None:
    operator = source(layer, 1)
    if operator.target is not _WEIGHT:
        raise _mismatch(edge, "a float weight")
    scale, zero = (_value(module, source(operator, index)) for index in (1, 2))
    same = np.array_equal(scale, quant.scale) and np.array_equal(zero, quant.zero_point)
    if not same or tuple(operator.args[3:6]) != (quant.spec.axis, quant.spec.qmin, quant.spec.qmax):
        raise _mismatch(edge, "other numbers")


def _value(module: fx.GraphModule, node: fx.Node) -> np.ndarray:
    value: object = module
    for part in str(node.target).split("."):
        value = getattr(value, part)
    return value.detach().numpy()  # type: ignore[attr-defined]


def _mismatch(edge: str, found: str) -> EdgesmithError:
    return EdgesmithError(
        f"put {edge} of the plan into the graph", f"the converted graph has {found}", "please report this as a bug"
    )
