"""From one calibration record to the plan of a family: rewrites, placement, scales and zero points."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np
from torch import Tensor, fx

from edgesmith.compress.quantize.bias import bias_shifts
from edgesmith.compress.quantize.bias_pass import measured_shifts
from edgesmith.compress.quantize.clipping import bounds
from edgesmith.compress.quantize.corrections import CORRECTIONS, Correction
from edgesmith.compress.quantize.dead import dead_notes, living_ends
from edgesmith.compress.quantize.equalise import equalising_factors
from edgesmith.compress.quantize.joined import Ends, shared_steps, widened
from edgesmith.compress.quantize.placement import Placement, kept_layers, place
from edgesmith.compress.quantize.ranges import check_record, edge_ranges
from edgesmith.errors import UsageError
from edgesmith.graph.activations import exact_forms, prelu_paths
from edgesmith.graph.channels import channel_groups, scale_channels
from edgesmith.graph.operators import activation as activation_kind
from edgesmith.graph.operators import constant, constant_or_none, is_weighted, source
from edgesmith.graph.program import Program
from edgesmith.graph.rewrite import lower_activations, simplify
from edgesmith.quant import (
    BiasOf,
    EdgeQuant,
    EdgeRange,
    QuantPlan,
    QuantSpec,
    RangeMethod,
    RangeRecord,
    SameAs,
    choose,
    in_half,
)
from edgesmith.targets import QuantRules, check_plan, rules_of

Edges = dict[str, EdgeQuant | SameAs | BiasOf]
# An int32 bias is b / (s_x s_w): s_w is kept large enough that it stays below this, with room for the products.
_BIAS_LIMIT = 2.0**30


def derive(
    program: Program,
    ranges: RangeRecord,
    family: str,
    instruction_set: str,
    keep_float: Collection[str] = (),
    corrections: Collection[Correction] = CORRECTIONS,
    ranges_by: RangeMethod = "mse",
    samples: tuple[Tensor, ...] = (),
) -> QuantPlan:
    """The plan of `family` for a program, from what calibration saw on its folded original.

    keep_float: paths of layers, or of modules that hold them, that stay in float. corrections: which are applied
    (corrections.py). ranges_by: how the ends of the grids are chosen (clipping.py). samples: calibration data, a tensor
    an input, for the pass that measures what biases take back; without, it is computed. The plan is checked against the
    family's rules.
    Raises: UsageError naming the edge and the rule where the family has no legal choice; for a record of another model.
    """
    rules = rules_of(family)
    activation, weight = _legal_specs(rules, family, instruction_set, program)
    folded = simplify(program)
    check_record(folded, ranges)
    keep_float = kept_layers(folded, keep_float)
    rewrites, notes = exact_forms(folded, _wished_forms(folded, rules))
    factors = {}
    if "equalise" in corrections:
        lowered = lower_activations(folded, rewrites)
        factors = _factors(folded, lowered, place(lowered, rules, rewrites, keep_float), ranges)
    lowered = lower_activations(scale_channels(folded, factors), rewrites)
    placement = place(lowered, rules, rewrites, keep_float)
    seen = edge_ranges(lowered, ranges)
    ends = _ends(lowered, placement, seen, activation, ranges_by, "dead" in corrections)
    if "join" in corrections:
        ends = _joined(lowered, placement, rewrites, ends, activation)
    edges = _value_edges(lowered, placement, ends, activation)
    edges.update(_weight_edges(lowered, placement, edges, weight, rules.int32_bias))
    if rules.half_scales:
        edges = {edge: in_half(how) if isinstance(how, EdgeQuant) else how for edge, how in edges.items()}
    notes = (*notes, *(dead_notes(lowered, placement, seen) if "dead" in corrections else ()))
    precision = precision_of(lowered, placement)
    plan = QuantPlan(family, edges, precision, instruction_set, rewrites, notes, factors, {}, program.digest)
    if "bias" in corrections:
        measured_on = samples if "bias_pass" in corrections else ()
        plan = replace(plan, bias_shifts=_shifts(lowered, plan, seen, measured_on))
    check_plan(plan)
    return plan


def _factors(folded: Program, lowered: Program, placement: Placement, ranges: RangeRecord) -> dict[str, np.ndarray]:
    """Equalising factors, from the values that the original has too.

    Of a PReLU whose inner value is quantized only that one counts: its grid is the widest, and the others share it.
    """
    seen, names = edge_ranges(lowered, ranges), {node: edge for edge, node in lowered.edges()}
    originals, quantized = folded.nodes, dict[fx.Node, EdgeRange]()
    for value in placement.values:
        path = lowered.paths.get(value.name, "")
        if path in originals:
            quantized[originals[path]] = seen[names[value]]
    for node in list(quantized):
        if activation_kind(node) == "prelu" and source(node) in quantized:
            del quantized[node]
    return equalising_factors(folded, channel_groups(folded), quantized)


def _shifts(
    program: Program, plan: QuantPlan, seen: Mapping[str, EdgeRange], samples: tuple[Tensor, ...]
) -> dict[str, np.ndarray]:
    quants = {edge: plan.resolve(edge) for edge in plan.edges}
    if samples and program.batch_is_symbolic:  # means of the one sample of a static batch would be noise
        return measured_shifts(program, plan.rewrites, quants, samples)
    by_node = {node: seen[edge] for edge, node in program.edges()}
    weights = {e.removesuffix(":weight"): how for e, how in quants.items() if how is not None and e.endswith(":weight")}
    return bias_shifts(program, weights, by_node)


def _legal_specs(rules: QuantRules, family: str, instruction_set: str, program: Program) -> tuple[QuantSpec, QuantSpec]:
    activations, weights = rules.activation.get(instruction_set, ()), rules.weights(instruction_set)
    if not activations or not weights:
        edge = f"input:{program.inputs[0].name}"
        rule = f"{family} has integer kernels on {', '.join(rules.activation)} only"
        raise UsageError(f"quantize {edge} for {family} on {instruction_set}", f"rule: {rule}", "name one of these")
    return activations[0], weights[0]


def _wished_forms(program: Program, rules: QuantRules) -> dict[str, str]:
    """The family's form for every PReLU; behind a linear layer there is no 1x1 convolution to use."""
    forms: dict[str, str] = {}
    for path in prelu_paths(program):
        flat = program.nodes[path].meta["val"].dim() != 4
        forms[path] = "max" if rules.prelu == "depthwise" and flat else rules.prelu
    return forms


def _ends(
    program: Program,
    placement: Placement,
    ranges: Mapping[str, EdgeRange],
    spec: QuantSpec,
    ranges_by: RangeMethod,
    living: bool,
) -> dict[fx.Node, Ends]:
    """Where the grid of every quantized value ends; the first of those that share numbers covers all of them."""
    names = {node: edge for edge, node in program.edges()}
    ends = {node: bounds(ranges[names[node]], ranges_by, spec) for node in placement.values}
    ends = {node: living_ends(own) for node, own in ends.items()} if living else ends
    for node, first in placement.same.items():
        low, high = zip(ends[node], ends[first])
        ends[first] = min(low), max(high)
    return ends


def _joined(
    program: Program, placement: Placement, rewrites: Mapping[str, str], ends: dict[fx.Node, Ends], spec: QuantSpec
) -> dict[fx.Node, Ends]:
    widths = shared_steps(program, rewrites, ends, placement.same, spec)
    return {node: widened(own, widths[node], spec) if node in widths else own for node, own in ends.items()}


def _value_edges(program: Program, placement: Placement, ends: Mapping[fx.Node, Ends], spec: QuantSpec) -> Edges:
    names = {node: edge for edge, node in program.edges()}
    return {
        names[node]: SameAs(names[placement.same[node]]) if node in placement.same else choose(spec, *ends[node])
        for node in placement.values
    }


def _weight_edges(program: Program, placement: Placement, values: Edges, spec: QuantSpec, int32_bias: bool) -> Edges:
    names, edges = {node: edge for edge, node in program.edges()}, Edges()
    for node in filter(is_weighted, placement.layers):
        path, source_edge = program.paths[node.name], names[source(node)]
        rows = constant(program.module, node, 1).flatten(1).numpy()
        bias = constant_or_none(program.module, node, 2)
        quant = choose(spec, rows.min(1), rows.max(1))
        if bias is not None:
            quant = _room_for_bias(quant, bias.numpy(), _scale_of(values, source_edge))
        edges[f"{path}:weight"] = quant
        if bias is not None and int32_bias:
            edges[f"{path}:bias"] = BiasOf(source_edge, f"{path}:weight")
    return edges


def _scale_of(edges: Edges, edge: str) -> float:
    found = edges[edge]
    while isinstance(found, SameAs):
        found = edges[found.edge]
    if isinstance(found, BiasOf):
        raise TypeError(f"{edge} is a bias")
    return float(found.scale)


def _room_for_bias(quant: EdgeQuant, bias: np.ndarray, input_scale: float) -> EdgeQuant:
    """Runtimes quantize the bias with s_x s_w: a channel of (nearly) zero weights would overflow 32 bits."""
    floor = np.abs(bias) / (input_scale * _BIAS_LIMIT)
    return EdgeQuant(quant.spec, np.maximum(quant.scale, floor).astype(np.float32), quant.zero_point)


def precision_of(program: Program, placement: Placement) -> dict[str, str]:
    """int8: layers that compute in integers with what is fused into them, and what moves integers about."""
    integer = {*placement.layers, *placement.tails, *placement.movers}
    return {path: "int8" if node in integer else "fp32" for path, node in program.nodes.items()}
